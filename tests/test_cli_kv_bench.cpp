// bench over a winnowed cache: how long winnowing took is a row of its own.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

/// Prompts of 40 and 80 tokens, and 6 tokens decoded after 60.
Words bench_of(const TinyDir& dir, const Words& more) {
  const Words run = {"bench", "-m", dir.name(), "-p", "40,80", "-n",  "6",
                     "-d",    "60", "-r",       "3",  "-c",    "1000"};
  return joined(run, more);
}

struct Row {
  std::string phase;
  int64_t tokens;
  int64_t depth;
  std::string unit;
  size_t runs;
};

const std::vector<Row> kRows = {
    {"prefill", 40, 0, "tokens/s", 3}, {"compact", 40, 0, "ms", 3},
    {"prefill", 80, 0, "tokens/s", 3}, {"compact", 80, 0, "ms", 3},
    {"decode", 6, 60, "tokens/s", 3},
};

const Words kSage = {"--kv-policy", "sage", "--kv-budget", "16"};

void check_json(const OrderedJson& json, const Row& row) {
  CAPTURE(json.dump());
  CHECK(json["bench"] == row.phase);
  CHECK(json["name"] == row.phase);
  CHECK(json["tokens"] == row.tokens);
  CHECK(json["depth"] == row.depth);
  CHECK(json["unit"] == row.unit);
  CHECK(json["runs"].size() == row.runs);
  CHECK(json["policy"] == "sage");
  CHECK(json["budget"] == 16);
  CHECK(json["share"].get<double>() > 0);
  CHECK(json["runs"].front().get<double>() > 0);
  CHECK(json["runs"].front() <= json["value"]);
  CHECK(json["value"] <= json["runs"].back());
  CHECK(std::ranges::is_sorted(json["runs"]));
}

/// The words between separators, without the spaces around them.
Words split(const std::string& line, char separator) {
  Words words;
  std::istringstream in(line);
  for (std::string word; std::getline(in, word, separator);) {
    word.erase(0, word.find_first_not_of(' '));
    word.erase(word.find_last_not_of(' ') + 1);
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

const Words kColumns = {"name", "tokens", "depth", "policy", "budget", "median", "unit",
                        "rate", "of",     "share", "min",    "max",    "runs"};

void check_words(const Words& words, const Row& row) {
  REQUIRE(words.size() == kColumns.size());
  CHECK(words[0] == row.phase);
  CHECK(words[1] == std::to_string(row.tokens));
  CHECK(words[2] == std::to_string(row.depth));
  CHECK(words[3] == "sage");
  CHECK(words[4] == "16");
  CHECK(words[6] == row.unit);
  CHECK(words[9].ends_with("%"));
  CHECK(std::stod(words[10]) <= std::stod(words[5]));
  CHECK(std::stod(words[5]) <= std::stod(words[11]));
  CHECK(words[12] == std::to_string(row.runs));
}

/// "weights 27.0 MiB, KV cache 7.9 MiB, scratch 13.3 MiB"
std::string plan_of(const std::string& err) {
  const size_t at = err.find("weights ");
  REQUIRE(at != std::string::npos);
  return err.substr(at, err.find('\n', at) - at);
}

}  // namespace

TEST_CASE("cli kv bench: compaction in milliseconds beside prefill and decode, in JSON") {
  const TinyDir tiny;
  const OrderedJson json = json_of(succeed(bench_of(tiny, joined(kSage, {"--json"}))).out);
  REQUIRE(json.size() == kRows.size());
  for (size_t i = 0; i < kRows.size(); ++i) check_json(json[i], kRows[i]);
  const Words lines = lines_of(succeed(bench_of(tiny, joined(kSage, {"--jsonl"}))).out);
  REQUIRE(lines.size() == kRows.size());
  for (size_t i = 0; i < kRows.size(); ++i) check_json(json_of(lines[i]), kRows[i]);
}

TEST_CASE("cli kv bench: the same in tables, whose columns say what is in them") {
  const TinyDir tiny;
  const auto lines_in = [&](const char* format) {
    return lines_of(succeed(bench_of(tiny, joined(kSage, {"--format", format}))).out);
  };
  const Words csv = lines_in("csv");
  REQUIRE(csv.size() == kRows.size() + 1);
  CHECK(split(csv[0], ',') == kColumns);
  const Words markdown = lines_in("md");
  REQUIRE(markdown.size() == kRows.size() + 2);
  CHECK(split(markdown[0], '|') == kColumns);
  const Words text = lines_in("text");
  REQUIRE(text.size() == kRows.size() + 1);
  CHECK(split(text[0], ' ') == kColumns);
  for (size_t i = 0; i < kRows.size(); ++i) {
    check_words(split(csv[i + 1], ','), kRows[i]);
    check_words(split(markdown[i + 2], '|'), kRows[i]);
    check_words(split(text[i + 1], ' '), kRows[i]);
    CHECK(text[i + 1].size() == text[0].size());  // numbers end where their heads do
  }
}

TEST_CASE("cli kv bench: no row of compaction where nothing is dropped") {
  const TinyDir tiny;
  for (const Words& options : {Words{}, Words{"--kv-policy", "sage", "--kv-budget", "80"}}) {
    const OrderedJson json = json_of(succeed(bench_of(tiny, joined(options, {"--json"}))).out);
    REQUIRE(json.size() == 3);
    for (const OrderedJson& row : json) CHECK(row["unit"] == "tokens/s");
  }
  // Of these prompts one outgrows the budget.
  const Words some = {"--kv-policy", "streaming", "--kv-budget", "70", "--json"};
  const OrderedJson json = json_of(succeed(bench_of(tiny, some)).out);
  REQUIRE(json.size() == 4);
  CHECK(json[2]["bench"] == "compact");
  CHECK(json[2]["tokens"] == 80);
}

TEST_CASE(
    "cli kv bench: policies and budgets are crossed, full comes once, and each has its rows") {
  const TinyDir tiny;
  const OrderedJson json = json_of(
      succeed({"bench", "-m", tiny.name(), "-p", "60", "-n", "4", "-d", "70", "-r", "1", "-c",
               "200", "--json", "--kv-policy", "streaming,full,sage", "--kv-budget", "16,50%"})
          .out);
  REQUIRE(json.size() == 4 * 3 + 2);
  const std::pair<const char*, int> methods[] = {
      {"streaming", 16}, {"streaming", 30}, {"full", 0}, {"sage", 16}, {"sage", 30}};
  size_t at = 0;
  for (const auto& [policy, budget] : methods) {
    const bool full = budget == 0;
    for (size_t i = 0; i < (full ? 2 : 3); ++i, ++at) {
      const OrderedJson& record = json[at];
      CHECK(record["policy"] == policy);
      if (full) CHECK(record["budget"].is_null());
      if (!full && record["bench"] == "decode") CHECK(record["budget"] == (budget == 30 ? 35 : 16));
      if (!full && record["bench"] != "decode") CHECK(record["budget"] == budget);
    }
    CHECK(json[at - 1]["bench"] == "decode");
  }
  // A token over 16 rows reads less than one over all 70.
  const auto read_per_token = [&](size_t i) {
    return json[i]["GBps"].get<double>() / json[i]["value"].get<double>();
  };
  CHECK(read_per_token(2) < read_per_token(7));
  fails(bench_of(tiny, {"--kv-policy", "sage,sage", "--kv-budget", "16"}), 2, {"more than once"});
  fails(bench_of(tiny, {"--kv-policy", "sage,best", "--kv-budget", "16"}), 2, {"'best'"});
  fails(bench_of(tiny, {"--kv-policy", "streaming", "--kv-budget", "16", "--kv-group", "max"}), 2,
        {"--kv-group has no meaning"});
}

TEST_CASE("cli kv bench: every policy and option, over shapes of random weights, too") {
  const TinyDir tiny;
  const std::string shape = (tiny / "config.json").string();
  const std::vector<Words> options = {
      {"--kv-policy", "streaming", "--kv-budget", "16", "--kv-positions", "cache"},
      {"--kv-policy", "random", "--kv-budget", "25%", "--kv-group", "max"},
      {"--kv-policy", "sage", "--kv-budget", "8K", "--kv-fill", "--kv-recompact", "2"}};
  for (const Words& kv : options) {
    const Words run = {
        "bench", "--config", shape,   "--random-weights", "-p", "60", "-n", "5", "-d", "60", "-r",
        "2",     "-q",       "--json"};
    const OrderedJson json = json_of(succeed(joined(run, kv)).out);
    const bool dropped = json[1]["bench"] == "compact";
    REQUIRE(json.size() == (dropped ? 3 : 2));
    CHECK(json[0]["policy"] == kv[1]);
    CHECK(dropped == (json[0]["budget"].get<int64_t>() < 60));
    CHECK(json.back()["bench"] == "decode");
  }
}

TEST_CASE(
    "cli kv bench: the memory plan is that of the largest test, in whatever order they come") {
  const TinyDir tiny;
  const auto plan = [&](const char* prompts) {
    const Words run = {"bench", "-m",   tiny.name(),   "-p",   prompts,       "-n", "0", "-r", "1",
                       "-c",    "3000", "--kv-policy", "sage", "--kv-budget", "90%"};
    return plan_of(succeed(run).err);
  };
  const std::string largest = plan("2000");
  CHECK(plan("20,2000") == largest);
  CHECK(plan("2000,20") == largest);
}

TEST_CASE("cli kv bench: budgets that are too small are refused before anything is timed") {
  const TinyDir tiny;
  fails(bench_of(tiny, {"--kv-policy", "sage", "--kv-budget", "3"}), 2,
        {"--kv-budget 3 is too small", "at least 4 rows"});
  fails(bench_of(tiny, {"--kv-policy", "sage"}), 2, {"needs --kv-budget"});
  fails(bench_of(tiny, {"--kv-budget", "8"}), 2, {"--kv-policy full"});
}

}  // namespace winnow::test
