// bench --kernels: where the time of whole passes goes.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "src/bench/cost.h"
#include "src/bench/kernel_table.h"
#include "src/random_model.h"
#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

/// The lines of a run by phase and step.
std::map<std::string, OrderedJson> lines_by_step(const OrderedJson& json) {
  std::map<std::string, OrderedJson> lines;
  for (const OrderedJson& line : json) {
    const std::string key =
        line["phase"].get<std::string>() + " " + line["step"].get<std::string>();
    CHECK_FALSE(lines.contains(key));
    lines[key] = line;
  }
  return lines;
}

}  // namespace

TEST_CASE("cli bench kernels: every step of the passes, how often, and its share of the ceiling") {
  const TinyDir tiny({.n_layers = 3, .max_positions = 1000});
  const OrderedJson json =
      json_result({"bench", "-m", tiny.name(), "--kernels", "-p", "40", "-n", "5", "-d", "60", "-r",
                   "2", "--kv-policy", "sage", "--kv-budget", "16"});
  const auto lines = lines_by_step(json);
  for (const char* step : {"qkv", "attention", "attention_output", "gate_up", "down"}) {
    CHECK(lines.at("prefill " + std::string(step))["calls"] == 2 * 3);
    CHECK(lines.at("decode " + std::string(step))["calls"] == 2 * 5 * 3);
  }
  CHECK(lines.at("prefill embed")["calls"] == 2);
  CHECK(lines.at("decode logits")["calls"] == 2 * 5);
  for (const char* step : {"attention_scores", "top_k", "list_kept", "gather_rows"}) {
    CHECK(lines.at("compact " + std::string(step))["calls"] == 2 * 3);
  }
  double part = 0;
  for (const auto& [key, line] : lines) {
    CAPTURE(key);
    CHECK(line["timer"] == "clock");
    CHECK(line["kernel"].is_null());
    CHECK(line["budget"] == 16);
    if (line["tokens"] == 40) part += line["time"].get<double>();
    const bool has_cost = line["step"] != "gaps" && line["step"] != "advance";
    CHECK(line.contains("share") == has_cost);
  }
  CHECK(part == doctest::Approx(1));
}

TEST_CASE("cli bench kernels: scores of every method have a declared cost") {
  const TinyDir tiny({.n_layers = 2, .max_positions = 1000});
  // No bytes are declared of what only moves the rows of a cut that runs along.
  const std::set<std::string> without = {"gaps", "advance", "set_aside", "count_taken",
                                         "squeeze_rows"};
  const std::map<std::string, std::set<std::string>> scores = {
      {"laprox", {"window_attention", "value_norms", "scale_scores"}},
      {"criticalkv", {"window_attention", "value_norms", "promote_scores"}},
      {"expected", {"add_query_statistics", "expected_scores"}},
      {"keydiff", {"key_differences"}},
      {"chunkkv", {"window_attention", "chunk_scores"}}};
  for (const auto& [policy, steps] : scores) {
    CAPTURE(policy);
    const OrderedJson json =
        json_result({"bench", "-m", tiny.name(), "--kernels", "-p", "80", "-n", "0", "-r", "1",
                     "--kv-policy", policy, "--kv-budget", "48"});
    const auto lines = lines_by_step(json);
    for (const auto& [key, line] : lines) {
      CAPTURE(key);
      CHECK(line.contains("share") == !without.contains(line["step"]));
    }
    const auto has = [&](const std::string& step) {
      return lines.contains("compact " + step) || lines.contains("prefill " + step);
    };
    for (const std::string& step : steps) CHECK_MESSAGE(has(step), step);
  }
}

TEST_CASE("cli bench kernels: rates follow from the time and the declared work") {
  const TinyDir tiny({.max_positions = 1000});
  const ShapePlan plan = read_shape(tiny / "config.json");
  const CostShape shape{.config = plan.config, .weights = DType::kF32, .rows = DType::kF32};
  const OrderedJson json = json_result(
      {"bench", "-m", tiny.name(), "--kernels", "-p", "30", "-n", "4", "-d", "50", "-r", "1"});
  const auto lines = lines_by_step(json);
  const auto check = [&](const std::string& key, const Cost& cost) {
    CAPTURE(key);
    const OrderedJson& line = lines.at(key);
    const double seconds = line["ms"].get<double>() * 1e-3;
    CHECK(line["TFLOPs"].get<double>() == doctest::Approx(cost.flops / seconds * 1e-12));
    CHECK(line["GBps"].get<double>() ==
          doctest::Approx((cost.read + cost.written) / seconds * 1e-9));
  };
  check("prefill qkv", 2 * qkv_cost(shape, 30));
  check("prefill attention", 2 * attention_cost(shape, 30, 0));
  check("prefill down", 2 * down_cost(shape, 30));
  check("decode gate_up", 8 * gate_up_cost(shape, 1));
  check("decode attention", 8 * attention_cost(shape, 1, 51.5));  // 50, and the mean of 0..3 more
}

TEST_CASE("cli bench kernels: tables in every format") {
  const TinyDir tiny;
  const Words run = {"bench", "-m", tiny.name(), "--kernels", "-p", "8", "-n", "0", "-r", "1"};
  const size_t n = lines_of(succeed(joined(run, {"--jsonl"})).out).size();
  CHECK(n == 8);  // 7 steps of a prefill and the gaps
  CHECK(lines_of(succeed(run).out).size() == n + 1);
  CHECK(lines_of(succeed(joined(run, {"--format", "md"})).out).size() == n + 2);
  for (const std::string& line : lines_of(succeed(joined(run, {"--format", "csv"})).out)) {
    CHECK(std::ranges::count(line, ',') == 14);
  }
}

TEST_CASE(
    "kernel table: kernels that overlap count once, and stand under the step they belong to") {
  KernelTable table({}, DType::kF32);
  const Place qkv{.kind = StepKind::kQkv, .phase = Phase::kDecode, .layer = 0};
  const Place down{.kind = StepKind::kDown, .phase = Phase::kDecode, .layer = 0};
  constexpr int64_t kMs = 1000000;
  table.kernel({.name = "norm", .place = &qkv, .start_ns = 0, .end_ns = 2 * kMs});
  table.kernel({.name = "rope", .place = &qkv, .start_ns = 1 * kMs, .end_ns = 5 * kMs});
  table.kernel({.name = "gemv", .place = &down, .start_ns = 6 * kMs, .end_ns = 7 * kMs});
  table.kernel({.name = "fill", .place = nullptr, .start_ns = 7 * kMs, .end_ns = 8 * kMs});
  BenchRecord record{.kind = BenchKind::kDecode,
                     .name = "",
                     .policy = "",
                     .budget = {},
                     .seconds = {0.010},
                     .cost = {}};
  const auto lines = table.take(record);
  const auto text = [](const KernelLine& line) {
    return line.phase + " " + line.step + " " + line.kernel + " " +
           std::to_string(std::lround(line.seconds * 1e3)) + " " +
           std::to_string(std::lround(line.part * 100));
  };
  std::vector<std::string> texts;
  for (const KernelLine& line : lines) texts.push_back(text(line));
  CHECK(texts == std::vector<std::string>{"decode qkv  5 50", "decode qkv rope 3 30",
                                          "decode qkv norm 2 20", "decode down gemv 1 10",
                                          "decode other  1 10", "decode gaps  3 30"});
  CHECK(table.take(record).size() == 1);  // all of it was taken
  table.kernel({.name = "draw", .place = nullptr, .start_ns = 8 * kMs, .end_ns = 9 * kMs});
  table.forget();  // what ran before a pass
  CHECK(table.take(record).size() == 1);
}

}  // namespace winnow::test
