// The --kv options: their values, their defaults, and which of them go together.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/command_line.h"

namespace winnow::test {
namespace {

/// The line of a policy with a budget, and `more`.
Line with_policy(const std::string& policy, const std::string& more = "") {
  return words("--kv-policy " + policy + " --kv-budget 2048 " + more);
}

KvBudget budget(const std::string& value) {
  return generate({"--kv-policy", "sage", "--kv-budget", value}).kv.budget.value();
}

void check_budget(const std::string& value, KvBudget::Unit unit, double amount) {
  CAPTURE(value);
  const KvBudget read = budget(value);
  CHECK(read.unit == unit);
  CHECK(read.amount == amount);
}

void refuse_budget(const std::string& value, std::string_view part) {
  refuse_generate({"--kv-policy", "sage", "--kv-budget", value},
                  {"--kv-budget", part, "not '" + value + "'"});
}

void check_defaults(const KvOptions& kv) {
  CHECK(kv.policy == "full");
  CHECK_FALSE(kv.budget.has_value());
  CHECK_FALSE(kv.sink.has_value());
  CHECK_FALSE(kv.recent.has_value());
  CHECK_FALSE(kv.group.has_value());
  CHECK_FALSE(kv.fill);
  CHECK_FALSE(kv.reselect);
  CHECK(kv.recompact == 0);
  CHECK_FALSE(kv.places_in_cache);
  CHECK(kv.policy_options.seed == 0);
}

TEST_CASE("kv options: the defaults") {
  const GenerateOptions options = generate({});
  check_defaults(options.kv);
  CHECK_FALSE(options.kv_show);
  CHECK(options.kv_map.empty());
  CHECK(options.kv_dump.empty());
  check_defaults(parse_as<BenchOptions>({"bench", "-m", "d"}).kv);
}

TEST_CASE("kv options: all of them") {
  const std::string line =
      "--kv-sink 8 --kv-recent 100 --kv-group head --kv-fill --kv-recompact 32 --kv-reselect "
      "--kv-positions cache";
  const auto check_all = [](const KvOptions& kv) {
    REQUIRE(kv.budget.has_value());
    CHECK(kv.policy == "random");
    CHECK(kv.budget->amount == 2048);
    CHECK(kv.sink == 8);
    CHECK(kv.recent == 100);
    CHECK(kv.group == Group::kHead);
    CHECK(kv.fill);
    CHECK(kv.recompact == 32);
    CHECK(kv.reselect);
    CHECK(kv.places_in_cache);
  };
  const GenerateOptions options = generate(
      with_policy("random", line + " --kv-show --kv-map m.html --kv-dump d.json --seed 7"));
  check_all(options.kv);
  CHECK(options.kv.policy_options.seed == 7);
  CHECK(options.kv_show);
  CHECK(options.kv_map == "m.html");
  CHECK(options.kv_dump == "d.json");

  Line bench = with_policy("random", line);
  bench.insert(bench.begin(), {"bench", "-m", "d"});
  const std::vector<KvOptions> methods = bench_methods(parse_as<BenchOptions>(bench));
  REQUIRE(methods.size() == 1);
  check_all(methods.front());
  CHECK(methods.front().policy_options.seed == 0);
}

TEST_CASE("kv options: words") {
  for (const char* policy : {"sage", "streaming", "random"}) {
    CHECK(generate(with_policy(policy)).kv.policy == policy);
  }
  CHECK(generate({"--kv-policy", "full"}).kv.policy == "full");
  refuse_generate({"--kv-policy", "best"},
                  {"--kv-policy must be full, sage, laprox, ", "not 'best'"});
  CHECK(generate(with_policy("sage", "--kv-group mean")).kv.group == Group::kMean);
  CHECK(generate(with_policy("sage", "--kv-group max")).kv.group == Group::kMax);
  CHECK(generate(with_policy("sage", "--kv-group sum")).kv.group == Group::kSum);
  refuse_generate(with_policy("sage", "--kv-group min"),
                  {"--kv-group must be head, mean, max or sum, not 'min'"});
  CHECK_FALSE(generate(with_policy("sage", "--kv-positions original")).kv.places_in_cache);
  refuse_generate(with_policy("sage", "--kv-positions text"),
                  {"--kv-positions must be original or cache, not 'text'"});
}

TEST_CASE("kv options: a budget in rows, percents or bytes") {
  check_budget("1", KvBudget::Unit::kRows, 1);
  check_budget("2048", KvBudget::Unit::kRows, 2048);
  check_budget("2147483647", KvBudget::Unit::kRows, 2147483647);
  check_budget("10%", KvBudget::Unit::kPercent, 10);
  check_budget("2.5%", KvBudget::Unit::kPercent, 2.5);
  check_budget("0.001%", KvBudget::Unit::kPercent, 0.001);
  check_budget("100%", KvBudget::Unit::kPercent, 100);
  check_budget("100.0%", KvBudget::Unit::kPercent, 100);
  check_budget("64K", KvBudget::Unit::kBytes, 65536);
  check_budget("64k", KvBudget::Unit::kBytes, 65536);
  check_budget("512M", KvBudget::Unit::kBytes, 536870912);
  check_budget("1m", KvBudget::Unit::kBytes, 1048576);
  check_budget("2G", KvBudget::Unit::kBytes, 2147483648);
  check_budget("80g", KvBudget::Unit::kBytes, 85899345920);
}

TEST_CASE("kv options: budgets that are none") {
  for (const char* value : {"",
                            " ",
                            "0",
                            "-1",
                            "-0",
                            "abc",
                            "1e3",
                            "12x",
                            "1.5",
                            "2147483648",
                            "99999999999999999999",
                            "+1",
                            " 1",
                            "1 ",
                            "0x10",
                            "1,000",
                            "nan",
                            "inf",
                            "512MiB",
                            "512B",
                            "1T",
                            "1K1",
                            "--"}) {
    refuse_budget(value, "must be rows from 1 to 2147483647, like 2048, or");
  }
  for (const char* value : {"0%", "0.0%", "-1%", "100.0001%", "150%", "%", "1e1%", "abc%", ".%",
                            "1.2.3%", " 5%", "5 %", "+5%", "nan%", "inf%", "10%%"}) {
    refuse_budget(value, "must be over 0% and at most 100%");
  }
  for (const char* value :
       {"0M", "-1G", "K", "1.5G", "1e3M", "12MM", " 1K", "1 K", "+1K", "9999999999999999999G"}) {
    refuse_budget(value, "must be a whole number of K, M or G from 1, like 512M");
  }
  refuse_generate({"--kv-budget="}, {"--kv-budget must be rows", "not ''"});
}

TEST_CASE("kv options: the range of every number") {
  struct Case {
    const char* option;
    Line good;
    Line bad;
    const char* range;
  };
  const Case cases[] = {
      {"--kv-sink", {"0", "2147483647"}, {"-1", "2147483648"}, "from 0 to 2147483647"},
      {"--kv-recent", {"1", "2147483647"}, {"0", "-1", "2147483648"}, "from 1 to 2147483647"},
      {"--kv-recompact", {"0", "2147483647"}, {"-1", "2147483648"}, "from 0 to 2147483647"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.option);
    for (const std::string& value : c.good) {
      CHECK_NOTHROW(generate(with_policy("sage", c.option + (" " + value))));
    }
    Line bad = c.bad;
    bad.insert(bad.end(), {"", "abc", "1.5", "1e3", "10%", "1K"});
    for (const std::string& value : bad) {
      Line line = with_policy("sage", c.option);
      line.push_back(value);
      refuse_generate(line, {c.option, c.range, "'" + value + "'"});
    }
  }
}

TEST_CASE("kv options: full has no use for any of them") {
  const std::vector<std::string> lines = {
      "--kv-budget 2048", "--kv-sink 4",       "--kv-recent 4", "--kv-group head",
      "--kv-fill",        "--kv-recompact 10", "--kv-reselect", "--kv-positions cache"};
  for (const std::string& line : lines) {
    const std::string name = line.substr(0, line.find(' '));
    for (const char* policy : {"", "--kv-policy full "}) {
      refuse_generate(words(policy + line), {name, "has no meaning with --kv-policy full"});
      Line bench = words(policy + line);
      bench.insert(bench.begin(), {"bench", "-m", "d"});
      refuse(bench, {name, "has no meaning with --kv-policy full"});
    }
  }
  refuse_generate({"--kv-sink", "4"}, {"--kv-sink has no meaning with --kv-policy full"});
  // These ask for nothing, or to see what was kept: all.
  CHECK_NOTHROW(generate(words("--kv-recompact 0 --kv-positions original")));
  CHECK_NOTHROW(generate(words("--kv-show --kv-map m.html --kv-dump d.json")));
}

TEST_CASE("kv options: the other policies need a budget") {
  refuse_generate({"--kv-policy", "sage"},
                  {"--kv-policy sage needs --kv-budget, like 2048, 10% or 512M"});
  refuse_generate(words("--kv-policy streaming --kv-sink 4"),
                  {"--kv-policy streaming needs --kv-budget"});
  refuse({"bench", "-m", "d", "--kv-policy", "random"}, {"--kv-policy random needs --kv-budget"});
}

TEST_CASE("kv options: streaming has no lists, and one list shares nothing") {
  refuse_generate(with_policy("streaming", "--kv-fill"),
                  {"--kv-fill has no meaning with --kv-policy streaming"});
  for (const char* group : {"head", "mean"}) {
    refuse_generate(with_policy("streaming", std::string("--kv-group ") + group),
                    {"--kv-group has no meaning with --kv-policy streaming"});
  }
  CHECK_NOTHROW(generate(with_policy(
      "streaming",
      "--kv-sink 4 --kv-recent 9 --kv-reselect --kv-recompact 8 --kv-positions cache")));
  for (const char* group : {"mean", "max", "sum"}) {
    for (const char* policy : {"sage", "random"}) {
      refuse_generate(with_policy(policy, std::string("--kv-fill --kv-group ") + group),
                      {"--kv-fill needs --kv-group head"});
    }
  }
  CHECK(generate(with_policy("sage", "--kv-fill")).kv.fill);
  CHECK(generate(with_policy("sage", "--kv-fill --kv-group head")).kv.fill);
}

TEST_CASE("kv options: what was kept goes to files") {
  refuse_generate({"--kv-map", ""}, {"--kv-map", "empty"});
  refuse_generate({"--kv-dump", ""}, {"--kv-dump", "empty"});
  refuse_generate({"--kv-map", "-"}, {"--kv-map must be a file"});
  refuse_generate({"--kv-dump", "-"}, {"--kv-dump must be a file"});
  for (const char* option : {"--kv-show", "--kv-map", "--kv-dump", "--dump", "--dump-layers"}) {
    refuse({"bench", "-m", "d", option, "1"}, {"has no option", option});
    refuse({"tokenize", "-m", "d", option, "1"}, {"has no option", option});
  }
}

}  // namespace
}  // namespace winnow::test
