// generate over a winnowed cache: its numbers, in JSON and in the summary, and that runs repeat.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "src/base/format_bytes.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

constexpr int64_t kLayers = 8;  // of the bundled model
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeads = kLayers * kKvHeads;
constexpr int64_t kRowBytes = 2 * 64 * 4 + 8;  // K and V in fp32, position, mask

const std::string kText =
    "It was a dark night, and the captain said to the men that they should go on to the ship and "
    "wait there until the morning came and the sea was calm";
const Words kRun = {"generate", "-m", kDemo, "-p", kText, "-n", "12"};

Words with_kv(const std::string& policy, const std::string& budget, const Words& more = {}) {
  return joined(joined(kRun, {"--kv-policy", policy, "--kv-budget", budget}), more);
}

int64_t sum(const std::vector<int64_t>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), int64_t{0});
}

/// Occupancy by its definition: for every query row in every layer, the entries held. While layer l
/// of the prompt is read, those kept of the layers before are there, too; decode holds all of them
/// and none more. A full cache holds each token's entries of all layers.
double occupancy_of(const std::vector<int64_t>& rows, int64_t n_prompt, int64_t passes) {
  double held = 0;
  int64_t before = 0;
  for (size_t l = 0; l < kLayers; ++l) {
    for (int64_t i = 0; i < n_prompt; ++i) {
      held += static_cast<double>(kKvHeads * (i + 1) + before);
    }
    before += rows[2 * l] + rows[2 * l + 1];
  }
  held += static_cast<double>(passes * kLayers * before);
  double full = 0;
  for (int64_t i = 0; i < n_prompt + passes; ++i) {
    full += static_cast<double>(kLayers * kHeads * (i + 1));
  }
  return held / full;
}

/// The kv object of a run that dropped rows of its prompt, by the closed formulas.
void check_numbers(const KeptRun& run, const std::string& policy, int64_t budget) {
  const OrderedJson& kv = run.json["kv"];
  CAPTURE(kv.dump());
  const int64_t n = run.json["prompt_tokens"].get<int64_t>();
  const auto passes = static_cast<int64_t>(run.json["tokens"].size()) - 1;
  const int64_t kept = sum(run.rows());
  CHECK(kv["policy"] == policy);
  CHECK(kv["budget"] == budget);
  CHECK(kv["rows_full"] == n * kHeads);
  CHECK(kv["rows_kept"] == kept);
  CHECK(kept <= budget * kHeads);
  CHECK(kv["rows_shared"] == budget * kHeads - kept);  // what lists that share rows left of it
  CHECK(kv["bytes_full"] == n * kHeads * kRowBytes);
  CHECK(kv["bytes_kept"] == kept * kRowBytes);
  CHECK(kv["bytes_peak"] == (kept + n * kKvHeads) * kRowBytes);  // one layer's prompt, all kept

  const int64_t end = n + passes;
  const auto triangle = [](int64_t m) { return static_cast<double>(kHeads * m * (m + 1)) / 2; };
  const double seen = triangle(n) + static_cast<double>(passes * kept);
  CHECK(kv["footprint"].get<double>() == doctest::Approx(seen / triangle(end)).epsilon(1e-12));
  const double peak = static_cast<double>(n) / static_cast<double>(end);
  CHECK(kv["peak_fraction"].get<double>() == doctest::Approx(peak).epsilon(1e-12));
  CHECK(kv["occupancy"].get<double>() ==
        doctest::Approx(occupancy_of(run.rows(), n, passes)).epsilon(1e-12));
  for (const char* key : {"footprint", "peak_fraction", "occupancy"}) {
    CHECK(kv[key].get<double>() > 0);
    CHECK(kv[key].get<double>() < 1);
  }
  CHECK(run.json["timings"]["compact_ms"].get<double>() > 0);
  CHECK(run.json["timings"]["compact_ms"] < run.json["timings"]["prompt_ms"]);
}

/// The one line of `text` that starts with `word`, or "".
std::string line_with(const std::string& text, const std::string& word) {
  std::string found;
  for (const std::string& line : lines_of(text)) {
    if (!line.starts_with(word)) continue;
    CHECK(found.empty());
    found = line;
  }
  return found;
}

std::string bytes_of(const OrderedJson& number) {
  return format_bytes(number.get<uint64_t>());
}

struct Case {
  std::string policy;
  std::string budget;
  int64_t rows;
  std::string division;  // as the summary tells it
};

constexpr int64_t kPromptTokens = 34;  // of kText

const std::vector<Case> kCases = {
    {"sage", "16", 16, "4 first, 6 last, 2 for each of 3 lists"},
    {"sage", "50%", kPromptTokens / 2, "4 first, 7 last, 2 for each of 3 lists"},
    {"sage", "128K", 15, "3 first, 6 last, 2 for each of 3 lists"},  // 128 KiB / 16 / 520 = 15.75
    {"random", "16", 16, "4 first, 6 last, 2 for each of 3 lists"},
    {"random", "52.9%", 17, "4 first, 7 last, 2 for each of 3 lists"},  // 17.99
    {"streaming", "16", 16, "4 first, 12 last"},
    {"streaming", "128k", 15, "4 first, 11 last"},
};

}  // namespace

TEST_CASE("cli kv: --json counts what was kept, by rows, by percent and by bytes") {
  REQUIRE(json_result(kRun)["prompt_tokens"] == kPromptTokens);
  for (const Case& c : kCases) {
    CAPTURE(c.policy);
    CAPTURE(c.budget);
    const KeptRun run = kept_run(with_kv(c.policy, c.budget));
    check_numbers(run, c.policy, c.rows);
    if (c.policy != "streaming") continue;
    for (const int64_t rows : run.rows()) CHECK(rows == c.rows);
  }
}

TEST_CASE("cli kv: the summary tells how the budget is divided, and what was kept") {
  for (const Case& c : kCases) {
    CAPTURE(c.policy);
    CAPTURE(c.budget);
    const Finished run = succeed(with_kv(c.policy, c.budget, {"--json"}));
    CAPTURE(run.err);
    const OrderedJson json = json_of(run.out);
    const OrderedJson& kv = json["kv"];
    CHECK(line_with(run.err, "budget ") ==
          "budget  " + std::to_string(c.rows) + " rows a head: " + c.division);
    const std::string winnow = line_with(run.err, "winnow ");
    CHECK(winnow.find(" ms   to score") != std::string::npos);
    const int64_t spared = c.rows * kHeads - kv["rows_kept"].get<int64_t>();
    const std::string shared = "; " + std::to_string(spared) + " rows less than the budget";
    CHECK((winnow.find(shared) != std::string::npos || spared == 0));
    CHECK(line_with(run.err, "cache ") ==
          "cache   " + bytes_of(kv["bytes_kept"]) + " of " + bytes_of(kv["bytes_full"]) + ": " +
              kv["rows_kept"].dump() + " of " + kv["rows_full"].dump() +
              " rows kept after the prompt, policy " + c.policy + "; " +
              bytes_of(kv["bytes_peak"]) + " at its highest");
  }
  const std::string full = succeed(kRun).err;
  CHECK(line_with(full, "budget").empty());
  CHECK(line_with(full, "winnow").empty());
  CHECK(line_with(full, "cache ").find("544 of 544 rows kept after the prompt, policy full") !=
        std::string::npos);
}

TEST_CASE("cli kv: a budget of the prompt or more changes no bit of the run") {
  const OrderedJson full = json_result(kRun);
  for (const char* policy : {"sage", "streaming", "random"}) {
    for (const char* budget : {"34", "100%", "1G", "2147483647"}) {
      CAPTURE(policy);
      CAPTURE(budget);
      const Words run = joined(kRun, {"--kv-policy", policy, "--kv-budget", budget});
      const Finished done = succeed(joined(run, {"--json"}));
      const OrderedJson json = json_of(done.out);
      CHECK(json["text"] == full["text"]);
      CHECK(json["logits_hash"] == full["logits_hash"]);
      CHECK(json["timings"]["compact_ms"] == 0.0);
      for (const char* key : {"rows_kept", "bytes_kept", "bytes_peak", "footprint", "occupancy"}) {
        CHECK(json["kv"][key] == full["kv"][key]);
      }
      CHECK(line_with(done.err, "budget ")
                .ends_with("the prompt of 34 fits, every row of it is kept"));
      CHECK(line_with(done.err, "winnow").empty());
    }
  }
  // One row less is another cache.
  const OrderedJson winnowed =
      json_result(joined(kRun, {"--kv-policy", "sage", "--kv-budget", "33"}));
  CHECK(winnowed["logits_hash"] != full["logits_hash"]);
  // 1 GiB over 16 heads, 520 bytes a row.
  CHECK(json_result(with_kv("sage", "1G"))["kv"]["budget"] == (1 << 30) / (kHeads * kRowBytes));
}

TEST_CASE("cli kv: a prompt of one token is kept, however small the budget") {
  const Words run = {"generate", "-m", kDemo, "-p", "It", "--bos", "no", "-n", "6"};
  const OrderedJson full = json_result(run);
  REQUIRE(full["prompt_tokens"] == 1);
  for (const char* policy : {"sage", "streaming", "random"}) {
    for (const char* budget : {"1", "3", "100%", "9K"}) {
      const OrderedJson json =
          json_result(joined(run, {"--kv-policy", policy, "--kv-budget", budget}));
      CHECK(json["kv"]["rows_kept"] == kHeads);
      CHECK(json["logits_hash"] == full["logits_hash"]);
    }
  }
  fails(joined(run, {"--kv-policy", "sage", "--kv-budget", "50%"}), 2, {"50%", "1 token", "100%"});
}

TEST_CASE("cli kv: the same run keeps the same rows and computes the same logits, bit for bit") {
  for (const char* policy : {"sage", "streaming", "random"}) {
    CAPTURE(policy);
    const Words run = with_kv(policy, "16");
    const KeptRun first = kept_run(run);
    for (const Words& more : {Words{}, Words{"--threads", "1"}, Words{"--threads", "5"}}) {
      const KeptRun again = kept_run(joined(run, more));
      CHECK(again.kept == first.kept);
      CHECK(again.json["logits_hash"] == first.json["logits_hash"]);
      CHECK(again.json["text"] == first.json["text"]);
    }
  }
}

TEST_CASE("cli kv: --seed says what random keeps, and nothing else is drawn from it") {
  const auto kept = [](const char* policy, const Words& more) {
    return kept_run(with_kv(policy, "16", more)).kept;
  };
  const OrderedJson one = kept("random", {"--seed", "1"});
  CHECK(kept("random", {"--seed", "1"}) == one);
  CHECK(kept("random", {"--seed", "1", "--temp", "0.8"}) == one);
  const OrderedJson two = kept("random", {"--seed", "2"});
  CHECK(two != one);
  CHECK(two["layers"][0] != one["layers"][0]);
  CHECK(kept("random", {}) == kept("random", {"--seed", "0"}));
  CHECK(kept("sage", {"--seed", "1"}) == kept("sage", {"--seed", "2"}));
}

TEST_CASE("cli kv: a seed that was drawn is told, and repeats what random kept and wrote") {
  const Words run = with_kv("random", "16", {"--temp", "1"});
  const KeptRun drawn = kept_run(run);
  const KeptRun again = kept_run(joined(run, {"--seed", drawn.json["seed"].dump()}));
  CHECK(again.kept == drawn.kept);
  CHECK(again.json["logits_hash"] == drawn.json["logits_hash"]);
  CHECK(kept_run(run).kept != drawn.kept);
}

TEST_CASE("cli kv: no layer and no head of random keeps what another one does") {
  const OrderedJson kept = kept_run(with_kv("random", "16")).kept;
  std::vector<OrderedJson> heads;
  for (const OrderedJson& layer : kept["layers"]) {
    for (const OrderedJson& head : layer["heads"]) {
      CHECK(std::ranges::count(heads, head) == 0);
      heads.push_back(head);
    }
  }
  CHECK(heads.size() == kHeads);
}

TEST_CASE("cli kv: the memory of dropped rows is given back, and never all taken") {
  const Words run = {"generate", "-m", kDemo, "-p", story(120), "-n", "2"};
  const OrderedJson full = json_result(run);
  const OrderedJson sage = json_result(joined(run, {"--kv-policy", "sage", "--kv-budget", "64"}));
  const auto memory = [](const OrderedJson& json, const char* key) {
    return json["memory"][key].get<int64_t>();
  };
  const int64_t saved =
      sage["kv"]["bytes_full"].get<int64_t>() - sage["kv"]["bytes_kept"].get<int64_t>();
  const int64_t pages = 2 * (2 << 20);  // the last one of a region is not full
  REQUIRE(saved > 4 * pages);
  CHECK(memory(sage, "arena_committed") <= memory(full, "arena_committed") - saved + pages);
  CHECK(memory(sage, "arena_high_water") < memory(full, "arena_high_water"));
}

}  // namespace winnow::test
