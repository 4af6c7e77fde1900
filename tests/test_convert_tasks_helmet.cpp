// tools/convert_tasks: what becomes of small files in HELMET's layouts. The texts are made up;
// keys, folders and names are HELMET's.
#include <map>

#include "tests/support/converter.h"

namespace winnow::test {

namespace {

/// What the converter reads of HELMET's data.py, with other texts.
constexpr const char* kDataPy = R"(
from datasets import load_dataset

def load_qa(dataset, path, demo_path, popularity_threshold=None, shots=0):
    if "nq_bad" in dataset:
        user_template = "Bad. {context}"
    else:
        user_template = "Read.\n\n{demos}{context}\n\nQuestion: {question}"
    system_template = "Answer:"
    prompt_template = user_template + "\n" + system_template
    passage_template = "({title}) {text}"
    if path.endswith(".json"):
        passage_template = "not this"
    else:
        passage_template = "nor that"
    if "popqa" in dataset and popularity_threshold is not None:
        passage_template = "nor this"
    def update(sample):
        passage_template = "nor this one"

def load_json_kv(path, shots, max_test_samples=None, seed=42):
    user_template = "{context}\n\nFind.\n\n{demos}Key: {question}"
    system_template = "Value:"
    prompt_template = user_template + "\n" + system_template
    demo_template = "Key: {key}\nValue:{value}"

def load_ruler(dataset, path, max_test_samples=None, seed=42):
    user_template = "{context}"
    system_template = "Answer:"
    prompt_template = user_template + "\n" + system_template
    if "niah_mv" in dataset or "niah_mq" in dataset:
        user_template = "Some {type_needle_v}.\n{context}\nWhat are they for {query}?"
        system_template = "They are"
    elif "niah" in dataset and "ruler" in dataset:
        user_template = "One {type_needle_v}.\n{context}\nWhat is it for {query}?"
        system_template = "It is"
    elif "vt" in dataset:
        user_template = "{example}Track.\n\n{context}\nQuestion: Which are {query}?"
        system_template = "These {num_v} are:"
    elif "cwe" in dataset or "fwe" in dataset:
        user_template = "Count.\n{context}\nQuestion: How many?"
    elif "qa" in dataset:
        user_template = "Answer.\n\n{context}\n\nQuestion: {question}"
    else:
        raise NotImplementedError(f"Unknown ruler dataset {dataset}")
    prompt_template = user_template + "\n" + system_template
)";

/// A bench with data.py, and the task that becomes of a file of one record.
struct Helmet {
  Bench bench;

  Helmet() { bench.put("data.py", kDataPy); }
  OrderedJson task(const std::string& file, const std::string& line, const Words& more = {}) const {
    bench.put(file, line);
    const auto tasks = bench.tasks(plus({"helmet", file, "--prompts", "data.py"}, more));
    REQUIRE(tasks.size() == 1);
    return tasks[0];
  }
};

}  // namespace

TEST_CASE("convert helmet: json_kv, with its own examples") {
  const Helmet helmet;
  if (!helmet.bench.can_run()) return;
  const std::string file = "data/json_kv/test_k50_dep6.jsonl";
  const std::string line =
      R"({"context": "{\"k\": \"v\"}", "question": "k", "answer": "v", "num_kvs": 1, )"
      R"("demos": [["a", "1"], ["b", "2"], ["c", "3"]]})";
  const OrderedJson two = helmet.task(file, line);
  CHECK(two == OrderedJson{{"id", "json_kv-1"},
                           {"task", "json_kv"},
                           {"context", R"({"k": "v"})"},
                           {"question",
                            "\n\nFind.\n\nKey: a\nValue: 1\n\nKey: b\nValue: 2\n\n"
                            "Key: k\nValue:"},
                           {"answers", {"v"}},
                           {"metric", "contains_any"},
                           {"max_tokens", 100},
                           {"stop", Words{}}});
  CHECK(helmet.task(file, line, {"--shots", "0"})["question"] == "\n\nFind.\n\nKey: k\nValue:");
  CHECK(helmet.task(file, line, {"--whole"})["prompt"] == whole(two));
}

TEST_CASE("convert helmet: RAG, and of PopQA what is not popular") {
  const Helmet helmet;
  if (!helmet.bench.can_run()) return;
  const std::string line =
      R"({"question": "Who?", "answers": ["A", "B"], "s_pop": 999, "ctxs": )"
      R"([{"id": "1", "title": "T", "text": "x {y}"}, {"title": "U", "text": "z"}]})";
  const std::map<std::string, std::string> files = {
      {"nq-dev-multikilt_1000_k20_dep6.jsonl", "kilt_nq"},
      {"triviaqa-dev-multikilt_1000_k20_dep6.jsonl", "kilt_triviaqa"},
      {"hotpotqa-dev-multikilt_1000_k20_dep3.jsonl", "kilt_hotpotqa"},
      {"popqa_test_1000_k20_dep6.jsonl", "kilt_popqa_3"}};
  std::string popular = line;
  popular.replace(popular.find("999"), 3, "1000");
  for (const auto& [file, name] : files) {
    CAPTURE(file);
    const std::string lines = name == "kilt_popqa_3" ? popular + "\n" + line : line;
    CHECK(helmet.task("data/kilt/" + file, lines) ==
          OrderedJson{{"id", name + "-1"},
                      {"task", name},
                      {"context", "Read.\n\n(T) x {y}\n\n(U) z"},
                      {"question", "\n\nQuestion: Who?\nAnswer:"},
                      {"answers", {"A", "B"}},
                      {"metric", "contains_any"},
                      {"max_tokens", 20},
                      {"stop", {"\n"}}});
  }
}

TEST_CASE("convert helmet: RULER's tasks have HELMET's prompts") {
  const Helmet helmet;
  if (!helmet.bench.can_run()) return;
  const std::string needle =
      R"({"context": "T", "query": "q", "type_needle_v": "number", "outputs": ["5", "6"]})";
  CHECK(helmet.task("ruler/niah_multikey_3/validation_4096.jsonl", needle) ==
        OrderedJson{{"id", "ruler_niah_mk_3-1"},
                    {"task", "ruler_niah_mk_3"},
                    {"context", "One number.\nT"},
                    {"question", "\nWhat is it for q?\nIt is"},
                    {"answers", {"5", "6"}},
                    {"metric", "contains"},
                    {"max_tokens", 100},
                    {"stop", Words{}}});
  const OrderedJson several = helmet.task("own.jsonl", needle, {"--task", "ruler_niah_mv"});
  CHECK(whole(several) == "Some number.\nT\nWhat are they for q?\nThey are");
  CHECK(several["max_tokens"] == 50);
  const OrderedJson traced = helmet.task(
      "ruler/vt/validation_4096.jsonl",
      R"({"context": "X = 2", "query": "2", "num_v": 5, "example": "E", "outputs": ["X"]})");
  CHECK(traced["context"] == "E\n\nTrack.\n\nX = 2");
  CHECK(traced["question"] == "\nQuestion: Which are 2?\nThese 5 are:");
  const OrderedJson asked = helmet.task("ruler/qa_2/validation_4096.jsonl",
                                        R"({"context": "D", "question": "Who?", "answer": "A"})");
  CHECK(whole(asked) == "Answer.\n\nD\n\nQuestion: Who?\nAnswer:");
  CHECK(asked["answers"] == Words{"A"});
}

TEST_CASE("convert helmet: folders of RULER's tasks, with HELMET's names and lengths for them") {
  const Helmet helmet;
  if (!helmet.bench.can_run()) return;
  struct Folder {
    const char* name;
    const char* task;
    int max_tokens;
  };
  const Folder folders[] = {
      {"niah_single_1", "ruler_niah_s_1", 50},
      {"niah_single_2", "ruler_niah_s_2", 50},
      {"niah_single_3", "ruler_niah_s_3", 50},
      {"niah_multikey_1", "ruler_niah_mk_1", 50},
      {"niah_multikey_2", "ruler_niah_mk_2", 50},
      {"niah_multikey_3", "ruler_niah_mk_3", 100},
      {"niah_multiquery", "ruler_niah_mq", 100},
      {"niah_multivalue", "ruler_niah_mv", 50},
      {"cwe", "ruler_cwe", 100},
      {"fwe", "ruler_fwe", 50},
      {"vt", "ruler_vt", 50},
      {"qa_1", "ruler_qa_1", 50},
      {"qa_2", "ruler_qa_2", 50},
  };
  Words command = {"helmet", "--prompts", "data.py"};
  for (const Folder& folder : folders) {
    command.push_back(std::string(folder.name) + "/validation_4096.jsonl");
    helmet.bench.put(command.back(), R"({"context": "T", "query": "q", "type_needle_v": "number", )"
                                     R"("num_v": 1, "outputs": ["A"]})");
  }
  const auto tasks = helmet.bench.tasks(command);
  REQUIRE(tasks.size() == std::size(folders));
  for (size_t i = 0; i < tasks.size(); ++i) {
    const std::string name = folders[i].task;
    CAPTURE(name);
    CHECK(tasks[i]["task"] == name);
    CHECK(tasks[i]["max_tokens"] == folders[i].max_tokens);
    CHECK(tasks[i]["metric"] ==
          (name.find("qa") == std::string::npos ? "contains" : "contains_any"));
  }
}

}  // namespace winnow::test
