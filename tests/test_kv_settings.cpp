// What the --kv options come to for a model and a prompt: budgets, shares, refusals.
#include <doctest/doctest.h>

#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "src/kv/settings.h"
#include "src/kv/store.h"
#include "tests/support/expect_error.h"
#include "tests/support/kv_steps.h"

namespace winnow::test {
namespace {

constexpr int64_t kLong = 1'000'000;  // a prompt that exceeds every budget here

/// Groups of `group` query heads.
ModelConfig grouped(int64_t group) {
  ModelConfig config = attention_shape(2 * group, 2, 64);
  config.n_layers = 3;
  return config;
}

KvOptions options_for(const std::string& policy, int64_t rows) {
  KvOptions options;
  options.policy = policy;
  options.budget = KvBudget{KvBudget::Unit::kRows, static_cast<double>(rows)};
  return options;
}

KvSettings resolve(const KvOptions& options, int64_t group, int64_t prompt_tokens = kLong) {
  return resolve_kv(options, grouped(group), DType::kF16, prompt_tokens);
}

/// The line that the options are refused with.
std::string refusal(const KvOptions& options, int64_t group, int64_t prompt_tokens = kLong) {
  try {
    resolve(options, group, prompt_tokens);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kUsage);
    return error.what();
  }
  return "";
}

void check_shares(const KvSettings& settings, const Shares& expected) {
  CHECK(settings.shares.sink == expected.sink);
  CHECK(settings.shares.k == expected.k);
  CHECK(settings.shares.recent == expected.recent);
}

struct Division {
  int64_t group;
  int64_t budget;
  Shares shares;
};

TEST_CASE("kv settings: sage and random divide a budget as the paper does") {
  const Division cases[] = {
      {4, 8192, {2048, 1024, 2048}},  // Llama-3.1-8B
      {7, 8192, {2048, 585, 2049}},   // Qwen2.5-7B; the paper's 512 is rounded further
      {4, 2048, {512, 256, 512}},
      {4, 1001, {250, 125, 251}},
      {4, 15, {3, 1, 8}},
      {4, 8, {2, 1, 2}},
      {1, 9, {2, 4, 3}},
      {1, 2, {0, 1, 1}},
      {32, 2048, {512, 32, 512}},
      {32, 64, {16, 1, 16}},
  };
  for (const Division& c : cases) {
    CAPTURE(c.group);
    CAPTURE(c.budget);
    for (const char* policy : {"sage", "random"}) {
      check_shares(resolve(options_for(policy, c.budget), c.group), c.shares);
      for (const Group one_list : {Group::kMean, Group::kMax, Group::kSum}) {
        KvOptions options = options_for(policy, c.budget);
        options.group = one_list;
        const KvSettings settings = resolve(options, c.group);
        check_shares(settings, {c.shares.sink, c.group * c.shares.k, c.shares.recent});
        CHECK(settings.group == one_list);
      }
    }
  }
}

TEST_CASE("kv settings: streaming keeps four sinks") {
  check_shares(resolve(options_for("streaming", 5), 4), {4, 0, 1});
  check_shares(resolve(options_for("streaming", 2048), 1), {4, 0, 2044});
}

struct Override {
  const char* policy;
  Group group;
  int64_t budget;
  std::optional<int64_t> sink;
  std::optional<int64_t> recent;
  Shares shares;
};

TEST_CASE("kv settings: --kv-sink and --kv-recent replace the method's shares") {
  const Override cases[] = {
      // A sink: k stays as it is.
      {"sage", Group::kHead, 100, 0, {}, {0, 12, 52}},
      {"sage", Group::kHead, 100, 51, {}, {51, 12, 1}},
      {"random", Group::kMean, 100, 10, {}, {10, 48, 42}},
      // Recent rows: the lists get the rest.
      {"sage", Group::kHead, 100, {}, 1, {25, 18, 3}},
      {"sage", Group::kHead, 100, {}, 71, {25, 1, 71}},
      {"sage", Group::kMax, 100, {}, 10, {25, 65, 10}},
      // Both: the same.
      {"sage", Group::kHead, 100, 4, 10, {4, 21, 12}},
      {"sage", Group::kHead, 100, 60, 36, {60, 1, 36}},
      {"sage", Group::kSum, 100, 60, 39, {60, 1, 39}},
      {"random", Group::kHead, 100, 0, 96, {0, 1, 96}},
      // Streaming has no lists.
      {"streaming", Group::kHead, 100, 10, {}, {10, 0, 90}},
      {"streaming", Group::kHead, 100, 0, {}, {0, 0, 100}},
      {"streaming", Group::kHead, 100, {}, 60, {40, 0, 60}},
      {"streaming", Group::kHead, 100, {}, 96, {4, 0, 96}},
      {"streaming", Group::kHead, 100, 10, 60, {10, 0, 90}},
      {"streaming", Group::kHead, 100, 40, 60, {40, 0, 60}},
  };
  for (const Override& c : cases) {
    CAPTURE(c.policy);
    CAPTURE(c.sink);
    CAPTURE(c.recent);
    KvOptions options = options_for(c.policy, c.budget);
    if (c.group != Group::kHead) options.group = c.group;
    options.sink = c.sink;
    options.recent = c.recent;
    check_shares(resolve(options, 4), c.shares);
  }
}

TEST_CASE("kv settings: budgets that are too small are refused with the least that is not") {
  const auto line = [](const char* policy, int64_t budget, std::optional<int64_t> sink,
                       std::optional<int64_t> recent, std::optional<Group> how = {}) {
    KvOptions options = options_for(policy, budget);
    options.sink = sink;
    options.recent = recent;
    options.group = how;
    return refusal(options, 4);
  };
  CHECK(line("sage", 7, {}, {}) ==
        "--kv-budget 7 is too small: sage keeps 2 sinks, 2 recent rows and at least 1 row for each "
        "of 4 query heads: at least 8 rows");
  CHECK(line("random", 1, {}, {}, Group::kMax) ==
        "--kv-budget 1 is too small: random keeps 2 sinks, 2 recent rows and at least 4 rows "
        "between: at least 8 rows");
  CHECK(line("streaming", 4, {}, {}) ==
        "--kv-budget 4 is too small: streaming keeps 4 sinks and 1 recent row: at least 5 rows");
  CHECK(line("streaming", 10, 10, {}) ==
        "--kv-budget 10 is too small: streaming keeps 10 sinks (--kv-sink) and 1 recent row: at "
        "least 11 rows");
  CHECK(line("streaming", 12, {}, 10) ==
        "--kv-budget 12 is too small: streaming keeps 4 sinks and 10 recent rows (--kv-recent): at "
        "least 14 rows");
  CHECK(line("sage", 100, 60, 50) ==
        "--kv-budget 100 is too small: sage keeps 60 sinks (--kv-sink), 50 recent rows "
        "(--kv-recent) and at least 1 row for each of 4 query heads: at least 114 rows");
  CHECK(line("sage", 100, 60, 40, Group::kMean) ==
        "--kv-budget 100 is too small: sage keeps 60 sinks (--kv-sink), 40 recent rows "
        "(--kv-recent) and at least 1 row between: at least 101 rows");
  CHECK(line("sage", 100, 60, {}) == "");
  CHECK(line("sage", 64, 60, {}) ==
        "--kv-budget 64 is too small: sage keeps 60 sinks (--kv-sink), 1 recent row and at least "
        "1 row for each of 4 query heads: at least 65 rows");
  CHECK(line("sage", 10, {}, 20) ==
        "--kv-budget 10 is too small: sage keeps 7 sinks, 20 recent rows (--kv-recent) and at "
        "least 1 row for each of 4 query heads: at least 31 rows");
  constexpr int64_t kMost = 2147483647;
  CHECK(line("sage", 100, kMost, kMost).ends_with(": at least 4294967298 rows"));
  CHECK(line("sage", 100, kMost, {}).find("is too small") != std::string::npos);
}

/// The number before " rows" or " row" at the end of a refusal.
int64_t least_of(const std::string& line) {
  const size_t at = line.rfind("at least ");
  REQUIRE(at != std::string::npos);
  int64_t least = 0;
  std::from_chars(line.data() + at + 9, line.data() + line.size(), least);
  return least;
}

/// Any policy with lists or without, any overrides.
KvOptions random_options(TestRandom& random) {
  const char* const policies[] = {"sage", "streaming", "random"};
  const Group groups[] = {Group::kHead, Group::kMean, Group::kMax, Group::kSum};
  const int64_t most = draw(random, 2) == 0 ? 40 : 5000;
  KvOptions options = options_for(policies[draw(random, 3)], 1 + draw(random, most));
  if (options.policy != "streaming" && draw(random, 2) == 0)
    options.group = groups[draw(random, 4)];
  if (draw(random, 2) == 0) options.sink = draw(random, most);
  if (draw(random, 2) == 0) options.recent = 1 + draw(random, most);
  return options;
}

void check_division(const KvOptions& options, const KvSettings& settings, int64_t group) {
  const Shares& s = settings.shares;
  const int64_t lists = lists_of(settings.group, group);
  CHECK(s.sink + lists * s.k + s.recent == settings.budget);
  CHECK(s.sink >= 0);
  CHECK(s.recent >= options.recent.value_or(1));
  if (options.sink) CHECK(s.sink == *options.sink);
  if (options.policy == "streaming") {
    CHECK(s.k == 0);
    if (!options.sink) CHECK(s.sink >= 4);
  } else {
    CHECK(s.k >= 1);
    if (options.recent) CHECK(s.recent < *options.recent + lists);
  }
}

TEST_CASE("kv settings: shares add up to the budget, or the least that is named does") {
  TestRandom random(11);
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    const int64_t group = 1 + draw(random, 32);
    KvOptions options = random_options(random);
    const auto budget = static_cast<int64_t>(options.budget->amount);
    const std::string line = refusal(options, group);
    CAPTURE(i);
    CAPTURE(line);
    if (line.empty()) {
      const KvSettings settings = resolve(options, group);
      CHECK(settings.budget == budget);
      check_division(options, settings, group);
      continue;
    }
    ++refused;
    const int64_t least = least_of(line);
    REQUIRE(least > budget);
    for (const int64_t below : {budget, (budget + least) / 2, least - 1}) {
      options.budget->amount = static_cast<double>(below);
      CHECK(least_of(refusal(options, group)) == least);
    }
    options.budget->amount = static_cast<double>(least);
    check_division(options, resolve(options, group), group);
  }
  CHECK(refused > 500);
  CHECK(refused < 3500);
}

TEST_CASE("kv settings: a budget that the prompt does not exceed keeps everything") {
  for (const char* policy : {"sage", "streaming", "random"}) {
    for (const int64_t prompt : {1, 2, 3}) {
      const KvSettings settings = resolve(options_for(policy, 3), 4, prompt);
      CHECK(settings.budget == 3);
      CHECK_FALSE(settings.exceeds(prompt));
      CHECK(settings.exceeds(4));
    }
    CHECK(refusal(options_for(policy, 3), 4, 4).find("is too small") != std::string::npos);
    CHECK(resolve(options_for(policy, 100), 4, 100).budget == 100);
  }
}

TEST_CASE("kv settings: what may be selected later is divided now") {
  KvOptions options = options_for("sage", 7);
  CHECK(refusal(options, 4, 5).empty());
  options.reselect = true;
  CHECK(refusal(options, 4, 5).ends_with("at least 8 rows"));
  options.reselect = false;
  options.recompact = 16;
  CHECK(refusal(options, 4, 5).ends_with("at least 8 rows"));
  options.budget->amount = 8;
  check_shares(resolve(options, 4, 5), {2, 1, 2});
}

TEST_CASE("kv settings: a budget in percent of the prompt") {
  const auto rows = [](double percent, int64_t prompt) {
    KvOptions options = options_for("streaming", 0);
    options.budget = KvBudget{KvBudget::Unit::kPercent, percent};
    return resolve(options, 1, prompt).budget;
  };
  CHECK(rows(10, 1000) == 100);
  CHECK(rows(2.5, 1001) == 25);
  CHECK(rows(0.29, 10'000) == 29);
  CHECK(rows(2.01, 10'000) == 201);
  CHECK(rows(33.333333, 3'000'000) == 999'999);
  CHECK(rows(99.999999, 1000) == 999);
  CHECK(rows(100, 1000) == 1000);
  CHECK(rows(100, 1) == 1);
  CHECK(rows(100, 2147483647) == 2147483647);
}

TEST_CASE("kv settings: percents that are less than a row, or too few") {
  const auto line = [](double percent, int64_t prompt) {
    KvOptions options = options_for("sage", 0);
    options.budget = KvBudget{KvBudget::Unit::kPercent, percent};
    return refusal(options, 4, prompt);
  };
  CHECK(line(10, 1) ==
        "--kv-budget 10% of a prompt of 1 token is less than one row: at least 100%");
  CHECK(line(1.5, 50) ==
        "--kv-budget 1.5% of a prompt of 50 tokens is less than one row: at least 2%");
  CHECK(line(1, 3) ==
        "--kv-budget 1% of a prompt of 3 tokens is less than one row: at least 33.333334%");
  CHECK(line(1e-9, 2147483647).find("less than one row") != std::string::npos);
  CHECK(line(50, 0).find("less than one row") != std::string::npos);
  CHECK(line(2.5, 100) ==
        "--kv-budget 2.5% (2 rows) is too small: sage keeps 2 sinks, 2 recent rows and at least 1 "
        "row for each of 4 query heads: at least 8 rows");
  CHECK(line(33.333334, 3).find("(1 row) is too small") != std::string::npos);
}

TEST_CASE("kv settings: a budget in bytes of all layers and heads") {
  const ModelConfig config = grouped(4);  // 3 layers x 2 KV heads
  const auto options_of = [](double bytes) {
    KvOptions options = options_for("streaming", 0);
    options.budget = KvBudget{KvBudget::Unit::kBytes, bytes};
    return options;
  };
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    // Key and value of 64, a position and a mask.
    const auto row = static_cast<int64_t>(3 * 2 * (2 * 64 * dtype_size(type) + 8));
    for (const int64_t rows : {5, 6, 1000}) {
      const auto bytes = static_cast<double>(rows * row);
      CHECK(resolve_kv(options_of(bytes), config, type, kLong).budget == rows);
      CHECK(resolve_kv(options_of(bytes + 1), config, type, kLong).budget == rows);
      if (rows > 5) {
        CHECK(resolve_kv(options_of(bytes - 1), config, type, kLong).budget == rows - 1);
      }
    }
  }
  const KvSettings all = resolve_kv(options_of(0x1p30), config, DType::kF16, 400'000);
  CHECK(all.budget == (1 << 30) / 1584);
  CHECK_FALSE(all.exceeds(400'000));
  CHECK(resolve_kv(options_of(0x1p90), config, DType::kF16, kLong).budget == 2147483647);
}

TEST_CASE("kv settings: bytes that are less than a row, or too few") {
  const auto line = [](double bytes) {
    KvOptions options = options_for("sage", 0);
    options.budget = KvBudget{KvBudget::Unit::kBytes, bytes};
    return refusal(options, 4);
  };
  CHECK(line(1024) ==
        "--kv-budget 1K is less than one row for each of 3 layers x 2 KV heads, which takes 1.5 "
        "KiB: at least 2K");
  CHECK(line(2048) ==
        "--kv-budget 2K (1 row) is too small: sage keeps 2 sinks, 2 recent rows and at least 1 row "
        "for each of 4 query heads: at least 8 rows");

  KvOptions options = options_for("sage", 0);
  ModelConfig large = grouped(4);
  large.n_layers = 1'000'000;
  const auto large_line = [&](double bytes) {
    options.budget = KvBudget{KvBudget::Unit::kBytes, bytes};
    std::string text;
    try {
      resolve_kv(options, large, DType::kF16, kLong);
    } catch (const Error& error) {
      text = error.what();
    }
    return text.substr(0, text.find(" is"));
  };
  CHECK(large_line(0x1p20) == "--kv-budget 1M");
  CHECK(large_line(500 * 0x1p20) == "--kv-budget 500M");
  CHECK(large_line(1025 * 0x1p10) == "--kv-budget 1025K");
  CHECK(large_line(0x1p30) == "--kv-budget 1G (2 rows)");
}

TEST_CASE("kv settings: full has no budget, the others what was asked for") {
  const KvSettings full = resolve(KvOptions{}, 4);
  CHECK(full.policy == nullptr);
  CHECK(full.budget == KvSettings::kNoBudget);
  CHECK_FALSE(full.exceeds(std::numeric_limits<int64_t>::max()));

  const KvSettings defaults = resolve(options_for("sage", 100), 4);
  CHECK(defaults.policy->name() == "sage");
  CHECK(defaults.group == Group::kHead);
  CHECK_FALSE(defaults.fill);
  CHECK_FALSE(defaults.reselect);
  CHECK(defaults.recompact == 0);
  CHECK_FALSE(defaults.places_in_cache);

  KvOptions options = options_for("random", 100);
  options.fill = true;
  options.reselect = true;
  options.recompact = 32;
  options.places_in_cache = true;
  const KvSettings settings = resolve(options, 4);
  CHECK(settings.policy->name() == "random");
  CHECK(settings.budget == 100);
  CHECK(settings.fill);
  CHECK(settings.reselect);
  CHECK(settings.recompact == 32);
  CHECK(settings.places_in_cache);
}

TEST_CASE("kv settings: a policy that there is not") {
  expect_error(ExitCode::kUsage, {"--kv-policy", "'best'"},
               [] { resolve(options_for("best", 100), 4); });
}

}  // namespace
}  // namespace winnow::test
