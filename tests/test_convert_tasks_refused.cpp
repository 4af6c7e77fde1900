// tools/convert_tasks: what is refused, with which line and exit code, and that nothing is left.
#include "tests/support/converter.h"

namespace winnow::test {

namespace {

constexpr int kUsage = 2;
constexpr int kUnreadable = 6;

/// A command that is refused.
struct Refused {
  Words arguments;
  int code = kUnreadable;
  std::string message;
  std::string data = {};  // put into data.jsonl first, unless empty
};

/// Runs all of `cases` with an output that is there already, and must stay as it is.
void check_refused(const Bench& bench, const std::vector<Refused>& cases) {
  bench.put("out.jsonl", "before");
  for (const Refused& refused : cases) {
    CAPTURE(refused.message);
    if (!refused.data.empty()) bench.put("data.jsonl", refused.data);
    const std::vector<std::string> before = bench.names();
    const Finished done = bench.convert(plus(refused.arguments, {"-o", "out.jsonl"}));
    CHECK(done.code == refused.code);
    CHECK(done.out == "");
    CHECK(done.err == "convert: " + refused.message + "\n");
    CHECK(bench.get("out.jsonl") == "before");
    CHECK(bench.names() == before);
  }
}

const std::string kTopic = R"({"prompt": "T Now the record ends. Q", "topics": ["a"]})";
const Words kLongEval = {"longeval", "data.jsonl"};
const Words kLongBench = {"longbench",    "data.jsonl", "--prompts",
                          "prompts.json", "--lengths",  "lengths.json"};

}  // namespace

TEST_CASE("convert refuses files that are not JSON lines of objects") {
  const Bench bench;
  if (!bench.can_run()) return;
  bench.put("folder/file", "");
  const std::string deep(200000, '[');
  check_refused(
      bench,
      {
          {kLongEval, kUnreadable, "data.jsonl: has no records", "\n \n"},
          {kLongEval, kUnreadable, "data.jsonl:3: not JSON: Expecting value, column 1",
           kTopic + "\n\nnothing\n"},
          {kLongEval, kUnreadable, "data.jsonl:2: not a JSON object", kTopic + "\n[1]\n"},
          {kLongEval, kUnreadable, "data.jsonl:1: not JSON: nested too deeply", deep},
          {kLongEval, kUnreadable, "data.jsonl:1: not JSON: NaN is no number", R"({"a": NaN})"},
          {kLongEval, kUnreadable,
           "data.jsonl:1: not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid "
           "start byte",
           "\xff\n"},
          {kLongEval, kUnreadable, "data.jsonl:1: half of a surrogate pair is no text",
           R"({"prompt": "\ud800", "topics": ["a"]})"},
          {{"longeval", "none\n.jsonl"}, kUnreadable, "none\\n.jsonl: No such file or directory"},
          {{"longeval", "folder"}, kUnreadable, "folder: Is a directory"},
      });
}

TEST_CASE("convert refuses records that lack something, or that nothing can be scored by") {
  const Bench bench;
  if (!bench.can_run()) return;
  const Words split = plus(kLongEval, {"--split"});
  const Words niah = {"ruler", "data.jsonl", "--task", "niah_single_1"};
  const Words qa = {"ruler", "data.jsonl", "--task", "qa_1", "--split"};
  const auto bad = [](const std::string& what, const Words& arguments, const std::string& data) {
    return Refused{arguments, kUnreadable, "data.jsonl:1: " + what, data};
  };
  check_refused(
      bench,
      {
          bad("has neither 'expected_number' nor 'topics'", kLongEval, R"({"prompt": "T"})"),
          bad("has no 'prompt'", kLongEval, R"({"topics": ["a"]})"),
          bad("'prompt' is not a text", kLongEval, R"({"topics": ["a"], "prompt": 1})"),
          bad("'topics' is not a list of texts", kLongEval, R"({"topics": [1], "prompt": "T"})"),
          bad("has no answer", kLongEval, R"({"topics": [], "prompt": "T"})"),
          bad("the prompt is empty", kLongEval, R"({"topics": ["a"], "prompt": ""})"),
          bad("'expected_number' is not a whole number", kLongEval,
              R"({"expected_number": true, "prompt": "T"})"),
          bad("an answer is empty", niah, R"({"input": "T", "outputs": ["a", ""]})"),
          bad("'prompt' has no 'Now the record ends.': nothing to --split", split,
              R"({"topics": ["a"], "prompt": "T"})"),
          bad("no question comes after the last line: nothing to --split", split,
              R"({"expected_number": 7, "prompt": "T\nline a: <7>\n"})"),
          bad("no line of 'input' starts with 'What ': nothing to --split", plus(niah, {"--split"}),
              R"({"input": "T What is it?", "outputs": ["a"]})"),
          bad("no line of 'input' starts with 'Question: ': nothing to --split", qa,
              R"({"input": "T\n\nQuestion:", "outputs": ["a"]})"),
          bad("no paragraph comes before the question's and its instruction's", qa,
              R"({"input": "T\n\nQuestion: Who?", "outputs": ["a"]})"),
      });
}

TEST_CASE(
    "convert longbench refuses what jieba scores, what is unknown, and config that lacks it") {
  const Bench bench;
  if (!bench.can_run()) return;
  const auto line = [](const std::string& dataset, const std::string& answer) {
    return OrderedJson{
        {"dataset", dataset}, {"input", "Q"}, {"context", "T"}, {"answers", {answer}}}
        .dump();
  };
  const auto config = [&](const std::string& text, const OrderedJson& length) {
    const OrderedJson prompts = {
        {"qasper", text}, {"passage_count", text}, {"passage_retrieval_en", text}};
    bench.put("prompts.json", prompts.dump());
    bench.put("lengths.json", OrderedJson{{"qasper", length}}.dump());
  };
  config("{context} {input}", 8);
  std::vector<Refused> cases = {
      {kLongBench, kUsage, "data.jsonl:1: 'nq' is no dataset of LongBench that is known here",
       line("nq", "a")},
      {kLongBench, kUnreadable, "prompts.json: has no prompt for trec", line("trec", "a")},
      {kLongBench, kUnreadable, "data.jsonl:1: an answer does not name a paragraph",
       line("passage_retrieval_en", "17")},
      {kLongBench, kUnreadable, "lengths.json: has no length from 1 to 1000000 for passage_count",
       line("passage_count", "7")},
  };
  for (const std::string name : {"multifieldqa_zh", "dureader", "vcsum"}) {
    cases.push_back({kLongBench, kUsage,
                     "data.jsonl:1: " + name +
                         " is scored over Chinese words as jieba finds them, not done here",
                     line(name, "a")});
  }
  check_refused(bench, cases);

  bench.put("lengths.json", R"({"passage_count": 8})");
  check_refused(bench,
                {{kLongBench, kUnreadable, "data.jsonl:1: the answer 'seven' is not a number",
                  line("passage_count", "seven")}});
  const std::vector<std::pair<std::string, std::string>> prompts = {
      {"{input}", "has not exactly one field {context}"},
      {"{context} {context}", "has not exactly one field {context}"},
      {"{context} {answers[0]}", "the field '{answers[0]}' is not a plain name"},
      {"{context} {", "Single '{' encountered in format string"},
  };
  for (const auto& [text, what] : prompts) {
    config(text, 8);
    check_refused(
        bench, {{kLongBench, kUnreadable, "prompts.json: qasper: " + what, line("qasper", "a")}});
  }
  config("{context} {length}", 8);
  check_refused(bench, {{kLongBench, kUnreadable,
                         "data.jsonl:1: no text for the field {length} of prompts.json: qasper",
                         line("qasper", "a")}});
  for (const OrderedJson& length : {OrderedJson(true), OrderedJson(0), OrderedJson(1000001)}) {
    config("{context}", length);
    check_refused(
        bench, {{kLongBench, kUnreadable,
                 "lengths.json: has no length from 1 to 1000000 for qasper", line("qasper", "a")}});
  }
  bench.put("prompts.json", "{\n\"qasper\": 1\n\"trec\": 2\n}");
  check_refused(bench, {{kLongBench, kUnreadable,
                         "prompts.json:3: not JSON: Expecting ',' delimiter, column 1", ""}});
}

TEST_CASE("convert ruler and helmet refuse tasks that they do not know, by name") {
  const Bench bench;
  if (!bench.can_run()) return;
  bench.put("data.py", "def load_qa(dataset):\n    prompt_template = \"{context}\"\n");
  bench.put("not.py", "def\n");
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"alce", "a model judges its answers and citations"},
      {"msmarco", "its rankings are scored by NDCG, which is not among the metrics"},
      {"infbench", "HELMET cuts its texts with another model's tokenizer"},
      {"narrativeqa", "HELMET cuts its texts with another model's tokenizer"},
      {"multi_lexsum", "HELMET cuts its texts with another model's tokenizer"},
      {"icl", "HELMET draws its examples with NumPy"},
  };
  const auto helmet = [](const std::string& file, const Words& more) {
    return plus({"helmet", file, "--prompts", "data.py"}, more);
  };
  std::vector<Refused> cases = {
      {{"ruler", "data.jsonl"},
       kUsage,
       "data.jsonl: no task of RULER has that name; --task says which it is",
       "{}"},
      {{"ruler", "data.jsonl", "--task", "sum"}, kUsage, "--task: 'sum' is no task of RULER"},
      {helmet("data.jsonl", {}), kUsage,
       "data.jsonl: no task of HELMET has that name; --task says which"},
      {helmet("data.jsonl", {"--task", "nq"}), kUsage,
       "--task: 'nq' is no task of HELMET that is known here"},
      {helmet("data.jsonl", {"--task", "kilt_nq", "--shots", "-1"}), kUsage,
       "--shots: may not be negative"},
      {helmet("data.jsonl", {"--task", "kilt_nq"}), kUnreadable,
       "data.py: no text for passage_template of kilt_nq in load_qa"},
      {helmet("data.jsonl", {"--task", "json_kv"}), kUnreadable,
       "data.py: no text for prompt_template of json_kv in load_json_kv"},
      {{"helmet", "data.jsonl", "--task", "kilt_nq", "--prompts", "not.py"},
       kUnreadable,
       "not.py:1: not Python: invalid syntax"},
      {helmet("data.jsonl", {"--task", "kilt_popqa_3"}), kUnreadable,
       "data.jsonl: no record is to be taken", R"({"s_pop": 1000})"},
  };
  for (const auto& [name, reason] : refused) {
    const std::string said = name + " cannot be converted: " + reason;
    cases.push_back({helmet("data.jsonl", {"--task", name + "_1"}), kUsage, "--task: " + said});
  }
  bench.put("alce/asqa_eval_gtr_top2000.json", "{}");
  cases.push_back(
      {helmet("alce/asqa_eval_gtr_top2000.json", {}), kUsage,
       "alce/asqa_eval_gtr_top2000.json: alce cannot be converted: " + refused[0].second});
  check_refused(bench, cases);
}

TEST_CASE("convert helmet refuses records without what the prompt needs") {
  const Bench bench;
  if (!bench.can_run()) return;
  bench.put("data.py", R"(
def load_qa(dataset):
    prompt_template = "{context}"
    passage_template = "{title}{text}"
def load_json_kv():
    prompt_template = "{context}"
    demo_template = "{key}{value}"
def load_ruler(dataset):
    prompt_template = "{context}{num_v}"
)");
  const auto of = [](const std::string& task) {
    return Words{"helmet", "data.jsonl", "--prompts", "data.py", "--task", task};
  };
  const std::string demos =
      "data.jsonl:1: 'demos' is not a list of 2 or more keys with their values";
  const std::string documents =
      "data.jsonl:1: 'ctxs' is not a list of documents with 'title' and 'text'";
  check_refused(
      bench,
      {
          {of("json_kv"), kUnreadable, demos, R"({"demos": [["a", "b"]]})"},
          {of("json_kv"), kUnreadable, demos, R"({"demos": [["a", "b"], ["c", 1]]})"},
          {of("json_kv"), kUnreadable, demos, R"({"demos": 2})"},
          {of("kilt_nq"), kUnreadable, documents, R"({"ctxs": [{"title": "T"}]})"},
          {of("kilt_popqa_3"), kUnreadable, "data.jsonl:1: has no 's_pop'", R"({"ctxs": []})"},
          {of("kilt_popqa_3"), kUnreadable, "data.jsonl:1: 's_pop' is not a number",
           R"({"s_pop": true})"},
          {of("ruler_vt"), kUnreadable,
           "data.jsonl:1: no text for the field {num_v} of data.py: prompt_template of ruler_vt",
           R"({"context": "T", "outputs": ["a"]})"},
      });
}

TEST_CASE("convert refuses a wrong command line, and an output that it must not replace") {
  const Bench bench;
  if (!bench.can_run()) return;
  bench.put("data.jsonl", kTopic);
  const auto said = [&](const Words& arguments, int code) {
    const Finished done = bench.convert(arguments);
    CHECK(done.code == code);
    CHECK(std::count(done.err.begin(), done.err.end(), '\n') == 1);
    return done.err;
  };
  CHECK(said({}, kUsage) == "convert: the following arguments are required: BENCHMARK\n");
  CHECK(said({"longeval", "data.jsonl"}, kUsage) ==
        "convert: the following arguments are required: -o/--out\n");
  CHECK(said({"longbench", "data.jsonl", "-o", "out.jsonl"}, kUsage) ==
        "convert: the following arguments are required: --prompts, --lengths\n");
  CHECK(said({"squad", "data.jsonl", "-o", "out.jsonl"}, kUsage).starts_with("convert: argument"));
  CHECK(said({"longeval", "data.jsonl", "-o", "./data.jsonl"}, kUsage) ==
        "convert: data.jsonl: is to be read and written\n");
  CHECK(said({"helmet", "x.jsonl", "-o", "data.jsonl", "--prompts", "data.jsonl"}, kUsage) ==
        "convert: data.jsonl: is to be read and written\n");
  CHECK(said({"longeval", "data.jsonl", "-o", "."}, kUnreadable) ==
        "convert: .: not a regular file\n");
  CHECK(said({"longeval", "data.jsonl", "-o", "none/out.jsonl"}, kUnreadable) ==
        "convert: none/out.jsonl: No such file or directory\n");
  CHECK(bench.get("data.jsonl") == kTopic);
  CHECK(bench.names() == std::vector<std::string>{"data.jsonl"});
}

}  // namespace winnow::test
