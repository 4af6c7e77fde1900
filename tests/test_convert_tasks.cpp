// tools/convert_tasks: what becomes of small files in the layouts of LongBench, RULER and LongEval.
// The texts are made up; keys, folders and names are those of the benchmarks.
#include <map>

#include "tests/support/converter.h"

namespace winnow::test {

namespace {

// ---- LongBench ----

struct Scored {
  const char* metric;
  const char* answer;     // as published
  const char* converted;  // as in the task file
};

/// The datasets that are converted.
const std::map<std::string, Scored> kLongBench = {
    {"narrativeqa", {"f1", "red", "red"}},
    {"qasper", {"f1", "red", "red"}},
    {"multifieldqa_en", {"f1", "red", "red"}},
    {"hotpotqa", {"f1", "red", "red"}},
    {"2wikimqa", {"f1", "red", "red"}},
    {"musique", {"f1", "red", "red"}},
    {"gov_report", {"rouge_l", "red", "red"}},
    {"qmsum", {"rouge_l", "red", "red"}},
    {"multi_news", {"rouge_l", "red", "red"}},
    {"trec", {"contains_any", "Colour", "Colour"}},
    {"triviaqa", {"f1", "red", "red"}},
    {"samsum", {"rouge_l", "red", "red"}},
    {"lsht", {"contains_any", "体育", "体育"}},
    {"passage_retrieval_en", {"count", "Paragraph 17", "17"}},
    {"passage_retrieval_zh", {"count", "段落17", "17"}},
    {"passage_count", {"count", "7", "7"}},
    {"lcc", {"edit_sim", "x = 1", "x = 1"}},
    {"repobench-p", {"edit_sim", "x = 1", "x = 1"}},
};
const Words kLongBenchConfig = {"--prompts", "prompts.json", "--lengths", "lengths.json"};

std::string longbench_line(const std::string& dataset, const std::string& answer) {
  return OrderedJson{{"input", "Which?"},      {"context", "Text with {braces}\u2028."},
                     {"answers", {answer}},    {"length", 5},
                     {"dataset", dataset},     {"language", "en"},
                     {"all_classes", nullptr}, {"_id", "0123456789abcdef"}}
             .dump() +
         "\n";
}

/// Config files with the prompt `text` and, for the Nth dataset, N tokens.
void put_longbench_config(const Bench& bench, const std::string& text) {
  OrderedJson prompts;
  OrderedJson lengths;
  for (const auto& [name, scored] : kLongBench) {
    prompts[name] = text;
    lengths[name] = lengths.size() + 1;
  }
  bench.put("prompts.json", prompts.dump(2));
  bench.put("lengths.json", lengths.dump(2));
}

}  // namespace

TEST_CASE("convert longbench: every dataset has its metric, length and stop text") {
  const Bench bench;
  if (!bench.can_run()) return;
  put_longbench_config(bench, "Read {{this}}: {context}\n\nQuestion: {input}\nAnswer:");
  std::string lines;
  for (const auto& [name, scored] : kLongBench) lines += longbench_line(name, scored.answer);
  bench.put("data/all.jsonl", lines + "\n");
  const auto tasks = bench.tasks(plus({"longbench", "data/all.jsonl"}, kLongBenchConfig));
  REQUIRE(tasks.size() == kLongBench.size());
  size_t i = 0;
  for (const auto& [name, scored] : kLongBench) {
    CAPTURE(name);
    const bool first_line =
        name == "trec" || name == "triviaqa" || name == "samsum" || name == "lsht";
    CHECK(tasks[i] == OrderedJson{{"id", name + "-1"},
                                  {"task", name},
                                  {"context", "Read {this}: Text with {braces}\u2028."},
                                  {"question", "\n\nQuestion: Which?\nAnswer:"},
                                  {"answers", {scored.converted}},
                                  {"metric", scored.metric},
                                  {"max_tokens", i + 1},
                                  {"stop", first_line ? Words{"\n"} : Words{}}});
    ++i;
  }
}

TEST_CASE("convert longbench: a prompt stays whole where it must, or is asked to") {
  const Bench bench;
  if (!bench.can_run()) return;
  const std::string line = longbench_line("qasper", "red");
  bench.put("qasper.jsonl", line + line);
  const Words command = plus({"longbench", "qasper.jsonl"}, kLongBenchConfig);
  for (const char* text : {"{input} {context} Answer:", "{context}"}) {
    put_longbench_config(bench, text);
    for (const OrderedJson& task : bench.tasks(command)) {
      CHECK(task["prompt"] == (text[1] == 'i' ? "Which? Text with {braces}\u2028. Answer:"
                                              : "Text with {braces}\u2028."));
      CHECK(!task.contains("context"));
      CHECK(!task.contains("question"));
    }
  }
  put_longbench_config(bench, "A {context} B {input} C");
  const auto split = bench.tasks(command);
  const auto kept = bench.tasks(plus(command, {"--whole"}));
  REQUIRE(split.size() == 2);
  CHECK(split[1]["id"] == "qasper-2");
  CHECK(split[1]["question"] == " B Which? C");
  CHECK(kept[1]["prompt"] == "A Text with {braces}\u2028. B Which? C");
  CHECK(kept[1]["prompt"] == whole(split[1]));
}

// ---- RULER ----

TEST_CASE("convert ruler: every family has its metric, its length and its place to split") {
  const Bench bench;
  if (!bench.can_run()) return;
  struct Family {
    const char* task;
    const char* context;
    const char* question;
    const char* prefix;
    const char* metric;
    int max_tokens;
  };
  // The text may say "What" and "Question:" too: the last one is the question.
  const Family families[] = {
      {"niah_single_1", "[INST] Remember.\nWhat a day.\nThe code of a is: 5.\n",
       "What is the code for a? [/INST]\n\n", " The code for a is", "contains", 128},
      {"niah_multikey_3", "Remember.\nText.\n", "What is it?", " It is", "contains", 128},
      {"vt", "Track.\n\nX = 1\nQuestion: which? X\n\nTrack.\n\nY = 2\n", "Question: which are 2?",
       " Answer: they are: ", "contains", 30},
      {"cwe", "List.\n1. a 2. b\n", "Question: Which are common?", " Answer:", "contains", 120},
      {"fwe", "Read. a a ... b\n", "Question: Which are frequent?", " Answer:", "contains", 50},
      {"qa_1", "Answer.\n\nDocument 1:\nA\nQuestion: no\n\nDocument 2:\nB\n\n",
       "Answer it.\n\nQuestion: Who?", " Answer:", "contains_any", 32},
  };
  Words command = {"ruler"};
  for (const Family& family : families) {
    const std::string name = std::string("data/") + family.task + "/validation.jsonl";
    bench.put(name, OrderedJson{{"index", 3},
                                {"input", std::string(family.context) + family.question},
                                {"outputs", {"A", "b"}},
                                {"length", 40},
                                {"answer_prefix", family.prefix},
                                {"token_position_answer", 7}}
                        .dump());
    command.push_back(name);
  }
  const auto kept = bench.tasks(command);
  const auto split = bench.tasks(plus(command, {"--split"}));
  REQUIRE(split.size() == std::size(families));
  for (size_t i = 0; i < split.size(); ++i) {
    const Family& family = families[i];
    CAPTURE(family.task);
    CHECK(split[i] == OrderedJson{{"id", std::string(family.task) + "-1"},
                                  {"task", family.task},
                                  {"context", family.context},
                                  {"question", std::string(family.question) + family.prefix},
                                  {"answers", {"A", "b"}},
                                  {"metric", family.metric},
                                  {"max_tokens", family.max_tokens},
                                  {"stop", Words{}}});
    CHECK(kept[i]["prompt"] == whole(split[i]));
  }
}

TEST_CASE("convert ruler: older files, several lengths of a task, and names of one's own") {
  const Bench bench;
  if (!bench.can_run()) return;
  const std::string line =
      R"({"index": 0, "input": "T\nWhat is it? It is", "outputs": ["5"], "length": 9})";
  bench.put("4096/niah_single_2/validation.jsonl", line + "\n" + line + "\n");
  bench.put("8192/niah_single_2/validation.jsonl", line);
  bench.put("niah_multiquery.jsonl", line);
  const auto tasks = bench.tasks({"ruler", "4096/niah_single_2/validation.jsonl",
                                  "8192/niah_single_2/validation.jsonl", "niah_multiquery.jsonl"});
  REQUIRE(tasks.size() == 4);
  CHECK(tasks[2]["id"] == "niah_single_2-3");
  CHECK(tasks[2]["prompt"] == "T\nWhat is it? It is");
  CHECK(tasks[3]["id"] == "niah_multiquery-1");
  CHECK(bench.tasks({"ruler", "niah_multiquery.jsonl", "--task", "qa_2"})[0]["max_tokens"] == 32);
  CHECK(bench.convert({"ruler", "niah_multiquery.jsonl", "-o", "out.jsonl"}).out ==
        "niah_multiquery: 1 task\n");
}

// ---- LongEval ----

TEST_CASE("convert longeval: lines and topics") {
  const Bench bench;
  if (!bench.can_run()) return;
  const std::string lines = "Remember:\n\nline a-b: REGISTER_CONTENT is <7>\n\n";
  const std::string topics = "Remember. USER: Tea. \n ASSISTANT: Now the record ends. No.";
  const std::string end = " Now the record ends. Which was the first?";
  bench.put("2_lines.jsonl", OrderedJson{{"random_idx", {"a-b", 0}},
                                         {"expected_number", 7},
                                         {"num_lines", 2},
                                         {"correct_line", "line a-b: REGISTER_CONTENT is <7>\n"},
                                         {"prompt", lines + "What is in line a-b? "}}
                                 .dump());
  bench.put("2_topics.jsonl", OrderedJson{{"test_id", 0},
                                          {"prompt", topics + end},
                                          {"topics", {"The uses of tea", "Rain"}},
                                          {"prompt_length", -1}}
                                  .dump());
  const Words command = {"longeval", "2_lines.jsonl", "2_topics.jsonl"};
  const auto split = bench.tasks(plus(command, {"--split"}));
  REQUIRE(split.size() == 2);
  CHECK(split[0] == OrderedJson{{"id", "longeval_lines-1"},
                                {"task", "longeval_lines"},
                                {"context", lines},
                                {"question", "What is in line a-b? "},
                                {"answers", {"7"}},
                                {"metric", "contains"},
                                {"max_tokens", 100},
                                {"stop", Words{}}});
  CHECK(split[1] == OrderedJson{{"id", "longeval_topics-1"},
                                {"task", "longeval_topics"},
                                {"context", topics},
                                {"question", end},
                                {"answers", {"The uses of tea"}},
                                {"metric", "contains"},
                                {"max_tokens", 50},
                                {"stop", Words{}}});
  const auto kept = bench.tasks(command);
  CHECK(kept[0]["prompt"] == lines + "What is in line a-b? ");
  CHECK(kept[1]["prompt"] == topics + end);
}

}  // namespace winnow::test
