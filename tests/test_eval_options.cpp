// The command line of `winnow eval`: its words, its options, which of them go together, and the
// methods that they name.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/command_line.h"

namespace winnow::test {
namespace {

const Line kNeedle = {"eval", "-m", "d", "needle", "--haystack", "h"};
const Line kTasks = {"eval", "-m", "d", "tasks", "t.jsonl"};
const Line kPpl = {"eval", "-m", "d", "ppl", "-f", "f"};

Line with(Line line, const Line& more) {
  line.insert(line.end(), more.begin(), more.end());
  return line;
}

EvalOptions needle(const Line& more = {}) {
  return parse_as<EvalOptions>(with(kNeedle, more));
}

void refuse_needle(const Line& more, std::initializer_list<std::string_view> parts) {
  refuse(with(kNeedle, more), parts);
}

TEST_CASE("eval options: the defaults") {
  const EvalOptions options = needle();
  CHECK(options.model.dir == "d");
  CHECK(options.kind == EvalKind::kNeedle);
  CHECK(options.haystack == "h");
  CHECK(options.words.empty());
  CHECK(options.lengths == std::vector<int64_t>{4096});
  CHECK(options.needle.needles == 1);
  CHECK(options.needle.answer_words == 3);
  CHECK(options.needle.depths == 10);
  CHECK(options.tasks.empty());
  CHECK_FALSE(options.truncate);
  CHECK(options.text.empty());
  CHECK(options.perplexity.prefix == 4096);
  CHECK(options.perplexity.score == 256);
  CHECK(options.stride == 0);
  CHECK(options.samples == 40);
  CHECK(options.question == QuestionSeen::kBefore);
  CHECK(options.bos == BosMode::kAuto);
  CHECK(options.seed == 1);
  CHECK(options.policies == Line{"full", "sage", "streaming", "random"});
  CHECK(options.budgets.empty());
  CHECK(options.compute.device == DeviceChoice::kAuto);
  CHECK(options.compute.context == 0);
  CHECK(options.output.format == Format::kText);
  CHECK(options.output.file.empty());
  CHECK(options.predictions.empty());
  CHECK(options.heat_map.empty());
  CHECK(options.plot.empty());
}

TEST_CASE("eval options: everything that 'eval needle' takes") {
  const EvalOptions options = needle(words(
      "--lengths 256,512 --depths 5 --needles 4 --answer-words 2 --words w.json --question "
      "unseen --samples 7 --seed 9 --bos yes -c 2048 --format md -o out --predictions p.jsonl "
      "--plot p.svg --heat-map h.svg --kv-policy sage,full --kv-budget 64,10%,1M --device "
      "cpu --threads 2 --prefill-rows 16 --no-graph --no-fuse -v --color never --progress "
      "always"));
  CHECK(options.lengths == std::vector<int64_t>{256, 512});
  CHECK(options.needle.depths == 5);
  CHECK(options.needle.needles == 4);
  CHECK(options.needle.answer_words == 2);
  CHECK(options.words == "w.json");
  CHECK(options.question == QuestionSeen::kAfter);
  CHECK(options.samples == 7);
  CHECK(options.seed == 9);
  CHECK(options.bos == BosMode::kYes);
  CHECK(options.compute.context == 2048);
  CHECK(options.output.format == Format::kMarkdown);
  CHECK(options.output.file == "out");
  CHECK(options.predictions == "p.jsonl");
  CHECK(options.plot == "p.svg");
  CHECK(options.heat_map == "h.svg");
  CHECK(options.policies == Line{"sage", "full"});
  REQUIRE(options.budgets.size() == 3);
  CHECK(options.budgets[0].unit == KvBudget::Unit::kRows);
  CHECK(options.budgets[0].amount == 64);
  CHECK(options.budgets[1].unit == KvBudget::Unit::kPercent);
  CHECK(options.budgets[1].amount == 10);
  CHECK(options.budgets[2].unit == KvBudget::Unit::kBytes);
  CHECK(options.budgets[2].amount == 1 << 20);
  CHECK(options.compute.device == DeviceChoice::kCpu);
  CHECK(options.compute.threads == 2);
  CHECK(options.compute.prefill_rows == 16);
  CHECK_FALSE(options.compute.graph);
  CHECK_FALSE(options.compute.fuse);
  CHECK(options.model.verbosity == 1);
  CHECK(options.model.color == ColorMode::kNever);
  CHECK(options.model.progress == ProgressMode::kAlways);
}

TEST_CASE("eval options: everything that only 'eval tasks' and 'eval ppl' take, and the rest") {
  const auto tasks = parse_as<EvalOptions>(
      with(kTasks, words("--truncate --question unseen --samples 0 --predictions p --plot q "
                         "--heat-map r --jsonl")));
  CHECK(tasks.kind == EvalKind::kTasks);
  CHECK(tasks.tasks == "t.jsonl");
  CHECK(tasks.truncate);
  CHECK(tasks.question == QuestionSeen::kAfter);
  CHECK(tasks.samples == 0);
  CHECK(tasks.output.format == Format::kJsonl);
  CHECK(tasks.heat_map == "r");

  const auto ppl = parse_as<EvalOptions>(
      with(kPpl, words("--prefix 100 --score 20 --stride 50 --samples 0 --json -o -")));
  CHECK(ppl.kind == EvalKind::kPerplexity);
  CHECK(ppl.text == "f");
  CHECK(ppl.perplexity.prefix == 100);
  CHECK(ppl.perplexity.score == 20);
  CHECK(ppl.stride == 50);
  CHECK(ppl.samples == 0);
  CHECK(ppl.output.format == Format::kJson);
  CHECK(ppl.output.file.empty());
  CHECK(parse_as<EvalOptions>({"eval", "-m", "d", "ppl", "--file", "g"}).text == "g");
}

TEST_CASE("eval options: the words, between options and around the command") {
  for (const Line& line : {Line{"-m", "d", "eval", "--haystack", "h", "needle", "--seed", "5"},
                           Line{"--seed=5", "--haystack", "h", "eval", "needle", "-m", "d"},
                           Line{"eval", "--seed", "5", "-md", "needle", "--haystack=h"},
                           Line{"eval", "--seed", "5", "-md", "--haystack=h", "--", "needle"}}) {
    const auto options = parse_as<EvalOptions>(line);
    CHECK(options.kind == EvalKind::kNeedle);
    CHECK(options.haystack == "h");
    CHECK(options.seed == 5);
    CHECK(options.model.dir == "d");
  }
  for (const Line& line : {Line{"eval", "tasks", "-m", "d", "-q", "t.jsonl"},
                           Line{"-m", "d", "eval", "-q", "tasks", "t.jsonl"}}) {
    CHECK(parse_as<EvalOptions>(line).tasks == "t.jsonl");
  }
  CHECK(parse_as<EvalOptions>({"eval", "-m", "d", "tasks", "--", "-x"}).tasks == "-x");
  // Words that mean something elsewhere.
  CHECK(parse_as<EvalOptions>({"eval", "-m", "d", "tasks", "generate"}).tasks == "generate");
  CHECK(parse_as<EvalOptions>({"eval", "-m", "d", "tasks", "ppl"}).tasks == "ppl");
  CHECK(parse_as<EvalOptions>({"eval", "-m", "needle", "ppl", "-f", "tasks"}).text == "tasks");
}

TEST_CASE("eval options: words that are missing, unknown or too many") {
  const std::string_view ways = "needs one of 'needle', 'tasks FILE' and 'ppl'";
  refuse({"eval", "-m", "d"}, {ways});
  refuse({"eval", "-m", "d", "--haystack", "needle"}, {ways});
  for (const char* word : {"needles", "Needle", "", "perplexity", "bench"}) {
    refuse({"eval", "-m", "d", word}, {ways, "not '" + std::string(word) + "'"});
  }
  refuse(with(kNeedle, {"more"}), {"'winnow eval needle' does not take 'more'"});
  refuse(with(kPpl, {"ppl"}), {"'winnow eval ppl' does not take 'ppl'"});
  refuse(with(kTasks, {"b.jsonl"}), {"'winnow eval tasks' does not take 'b.jsonl'"});
  refuse({"eval", "-m", "d", "tasks"}, {"'winnow eval tasks' needs a FILE"});
  refuse({"eval", "-m", "d", "tasks", ""}, {"FILE of 'winnow eval tasks'", "empty"});
}

TEST_CASE("eval options: what each kind cannot do without") {
  refuse({"eval", "-m", "d", "needle"}, {"'winnow eval needle'", "--haystack FILE"});
  refuse({"eval", "-m", "d", "ppl"}, {"'winnow eval ppl'", "-f FILE"});
  refuse({"eval", "needle", "--haystack", "h"}, {"'winnow eval' needs a model: -m DIR"});
  refuse({"eval", "-m", "d", "needle", "--haystack", ""}, {"--haystack", "empty"});
  refuse({"eval", "-m", "d", "ppl", "-f", ""}, {"--file", "empty"});
}

TEST_CASE("eval options: an option of one kind is refused with the others, and named") {
  const std::string of_needle = "is an option of 'eval needle'";
  for (const char* option : {"--haystack h", "--lengths 9", "--depths 2", "--needles 2",
                             "--answer-words 2", "--words w"}) {
    const std::string name = words(option)[0];
    refuse(with(kTasks, words(option)), {name + " " + of_needle});
    refuse(with(kPpl, words(option)), {name + " " + of_needle});
  }
  const std::string of_ppl = "is an option of 'eval ppl'";
  for (const char* option : {"--file x", "--prefix 9", "--score 9", "--stride 9"}) {
    const std::string name = words(option)[0];
    refuse(with(kTasks, words(option)), {name + " " + of_ppl});
    refuse(with(kNeedle, words(option)), {name + " " + of_ppl});
  }
  refuse(with(kNeedle, {"-f", "x"}), {"--file " + of_ppl});
  refuse(with(kNeedle, {"--truncate"}), {"--truncate is an option of 'eval tasks'"});
  refuse(with(kPpl, {"--truncate"}), {"--truncate is an option of 'eval tasks'"});
  refuse(with(kPpl, {"--question", "seen"}),
         {"--question is an option of 'eval needle' or 'eval tasks'"});
  for (const char* option : {"--plot", "--heat-map", "--predictions"}) {
    refuse(with(kPpl, {option, "x"}), {option, "show answers", "'winnow eval ppl' has none"});
  }
}

TEST_CASE("eval options: options of other commands, and those given twice") {
  for (const char* option : {"--prompt", "--temp", "--then", "--kv-map", "--repetitions"}) {
    refuse_needle({option, "1"}, {"'winnow eval' has no option", option});
  }
  refuse({"bench", "-m", "d", "--haystack", "h"}, {"'winnow bench' has no option '--haystack'"});
  for (const char* option : {"--haystack", "--lengths", "--kv-policy", "--kv-budget", "--seed"}) {
    refuse_needle({option, "1", option, "1"}, {option});
  }
  refuse_needle({"--json", "--jsonl"}, {"--json", "--jsonl", "exclude"});
}

TEST_CASE("eval options: lengths are sorted, and each is there once") {
  const auto lengths = [](const char* list) { return needle({"--lengths", list}).lengths; };
  CHECK(lengths("512,256,512,1024,256") == std::vector<int64_t>{256, 512, 1024});
  CHECK(lengths("7") == std::vector<int64_t>{7});
  CHECK(lengths("2147483647,1") == std::vector<int64_t>{1, 2147483647});
  for (const char* list : {"", ",", "256,", ",256", "256,,512", "0", "256,0", "-1", "2147483648",
                           "4K", "1.5", "256 512", "10%"}) {
    refuse_needle({"--lengths", list}, {"--lengths must be a list like 1,2,3", "2147483647"});
  }
}

TEST_CASE("eval options: the range of every number") {
  struct Case {
    Line line;
    const char* option;
    Line good;
    Line bad;
    const char* range;
  };
  const Case cases[] = {
      {kNeedle, "--depths", {"1", "1000"}, {"0", "1001", "-1", "x"}, "from 1 to 1000"},
      {kNeedle, "--needles", {"1", "1000"}, {"0", "1001"}, "from 1 to 1000"},
      {kNeedle, "--answer-words", {"1", "100"}, {"0", "101", "2.5"}, "from 1 to 100"},
      {kNeedle, "--samples", {"1", "2147483647"}, {"-1", "2147483648"}, "from 0 to 2147483647"},
      {kNeedle, "-c", {"0", "2147483647"}, {"-1", ""}, "from 0 to 2147483647"},
      {kPpl, "--prefix", {"1", "2147483647"}, {"0", "2147483648"}, "from 1 to 2147483647"},
      {kPpl, "--score", {"1", "2147483647"}, {"0", "1e3"}, "from 1 to 2147483647"},
      {kPpl, "--stride", {"0", "2147483647"}, {"-1", "2147483648"}, "from 0 to 2147483647"},
      {kTasks,
       "--seed",
       {"0", "18446744073709551615"},
       {"-1", "18446744073709551616"},
       "from 0 to 18446744073709551615"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.option);
    for (const std::string& value : c.good) {
      CHECK_NOTHROW(parse(with(c.line, {c.option, value})));
    }
    for (const std::string& value : c.bad) {
      refuse(with(c.line, {c.option, value}), {c.range, "'" + value + "'"});
    }
  }
  CHECK(needle({"--seed", "18446744073709551615"}).seed == std::numeric_limits<uint64_t>::max());
}

TEST_CASE("eval options: needles have no end") {
  refuse_needle({"--samples", "0"}, {"--samples 0"});
  CHECK(parse_as<EvalOptions>(with(kTasks, {"--samples", "0"})).samples == 0);
  CHECK(parse_as<EvalOptions>(with(kPpl, {"--samples", "0"})).samples == 0);
}

TEST_CASE("eval options: words that an option does not take") {
  refuse_needle({"--question", "both"}, {"--question must be seen or unseen, not 'both'"});
  refuse_needle({"--bos", "1"}, {"--bos must be auto, yes or no"});
  refuse_needle({"--format", "html"}, {"--format must be text, md, csv, json or jsonl"});
  refuse_needle({"--device", "gpu"}, {"--device must be auto, cpu or cuda"});
  for (const char* option : {"--plot", "--heat-map", "--predictions"}) {
    refuse_needle({option, ""}, {option, "empty"});
    refuse_needle({option, "-"}, {option, "must be a file"});
  }
  refuse_needle({"-o", ""}, {"--output", "empty"});
  refuse_needle({"--words", ""}, {"--words", "empty"});
}

TEST_CASE("eval options: every policy comes with every budget, full once") {
  EvalOptions options = needle(words("--kv-policy sage,full,random --kv-budget 64,10% --seed 7"));
  const std::vector<KvOptions> methods = eval_methods(options);
  REQUIRE(methods.size() == 5);
  const Line names = {"sage", "sage", "full", "random", "random"};
  for (size_t i = 0; i < methods.size(); ++i) {
    CAPTURE(i);
    CHECK(methods[i].policy == names[i]);
    CHECK(methods[i].policy_options.seed == 7);
    CHECK_NOTHROW(check_kv(methods[i]));
  }
  CHECK_FALSE(methods[2].budget.has_value());
  for (const size_t i : {0, 3}) {
    CHECK(methods[i].budget->amount == 64);
    CHECK(methods[i].budget->unit == KvBudget::Unit::kRows);
    CHECK(methods[i + 1].budget->amount == 10);
    CHECK(methods[i + 1].budget->unit == KvBudget::Unit::kPercent);
  }
  const std::vector<KvOptions> usual = eval_methods(needle());
  REQUIRE(usual.size() == 4);
  CHECK(usual[0].policy == "full");
  CHECK(usual[0].policy_options.seed == 1);
  for (const size_t i : {1, 2, 3}) {
    CHECK(usual[i].budget->amount == 128);
    CHECK(usual[i].budget->unit == KvBudget::Unit::kRows);
  }
  CHECK(eval_methods(needle({"--kv-policy", "full", "--kv-budget", "1,2"})).size() == 1);
}

TEST_CASE("eval options: policies and budgets that are none") {
  const std::string_view known = "--kv-policy must be a list of full, sage, laprox, ";
  for (const char* list : {"", ",", "best", "full,", ",sage", "full,,sage", "Sage", "sage, full"}) {
    refuse_needle({"--kv-policy", list}, {known});
  }
  refuse_needle({"--kv-policy", "full,nope"}, {known, "not 'nope'"});
  refuse_needle({"--kv-policy", "sage,full,sage"}, {"--kv-policy names sage more than once"});
  for (const char* list : {"", ",", "0", "128,", ",128", "64,,128", "abc", "1.5", "64,0",
                           "2147483648", "64,128x", "64 128"}) {
    refuse_needle({"--kv-budget", list}, {"--kv-budget must be rows from 1 to 2147483647"});
  }
  refuse_needle({"--kv-budget", "64,150%"}, {"--kv-budget must be over 0% and at most 100%"});
  refuse_needle({"--kv-budget", "0M"}, {"--kv-budget must be a whole number of K, M or G"});
}

TEST_CASE("eval options: the rest of --kv is for those for which it has a meaning") {
  const std::string rest =
      "--kv-sink 2 --kv-recent 9 --kv-group mean --kv-recompact 8 --kv-reselect --kv-positions "
      "cache";
  const std::vector<KvOptions> methods = eval_methods(needle(words(rest)));
  REQUIRE(methods.size() == 4);
  const KvOptions& full = methods[0];
  CHECK_FALSE(full.sink.has_value());
  CHECK_FALSE(full.recent.has_value());
  CHECK_FALSE(full.group.has_value());
  CHECK(full.recompact == 0);
  CHECK_FALSE(full.reselect);
  CHECK_FALSE(full.places_in_cache);
  for (const size_t i : {1, 2, 3}) {
    CAPTURE(methods[i].policy);
    CHECK(methods[i].sink == 2);
    CHECK(methods[i].recent == 9);
    CHECK(methods[i].recompact == 8);
    CHECK(methods[i].reselect);
    CHECK(methods[i].places_in_cache);
    CHECK(methods[i].group.has_value() == (methods[i].policy != "streaming"));
  }
  CHECK(methods[1].group == Group::kMean);
  CHECK(methods[3].group == Group::kMean);

  const std::vector<KvOptions> filled = eval_methods(needle({"--kv-fill"}));
  for (const KvOptions& method : filled) {
    CAPTURE(method.policy);
    CHECK(method.fill == (method.policy == "sage" || method.policy == "random"));
  }
  refuse_needle(words("--kv-fill --kv-group max"), {"--kv-fill needs --kv-group head"});
  refuse_needle({"--kv-recent", "0"}, {"--kv-recent", "from 1"});
  refuse_needle({"--kv-group", "min"}, {"--kv-group must be head, mean, max or sum"});
}

}  // namespace
}  // namespace winnow::test
