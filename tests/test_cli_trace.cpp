// --trace and --profile-range: a timeline that is valid JSON whatever ends the run, and options
// that are refused where they mean nothing.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

struct TracedRun {
  explicit TracedRun(const Words& run) {
    const TempDir dir;
    const std::string file = (dir / "trace.json").string();
    succeed(joined(run, {"--trace", file, "-q"}));
    events = json_of(read_file(file))["traceEvents"];
  }

  std::vector<OrderedJson> spans(const std::string& category) const {
    std::vector<OrderedJson> found;
    for (const OrderedJson& event : events) {
      if (event.value("cat", "") == category) found.push_back(event);
    }
    return found;
  }

  int64_t count(const std::string& category, const std::string& name) const {
    const auto all = spans(category);
    return std::ranges::count_if(all, [&](const auto& event) { return event["name"] == name; });
  }

  OrderedJson events;
};

double end_of(const OrderedJson& event) {
  return event["ts"].get<double>() + event["dur"].get<double>();
}

bool lies_in(const OrderedJson& inner, const OrderedJson& outer) {
  constexpr double kRounding = 0.002;
  return inner["ts"].get<double>() >= outer["ts"].get<double>() - kRounding &&
         end_of(inner) <= end_of(outer) + kRounding;
}

}  // namespace

TEST_CASE("cli trace: phases hold tokens, tokens hold layers, layers hold steps") {
  const TinyDir tiny({.n_layers = 3});
  const TracedRun run({"generate", "-m", tiny.name(), "-p", text_of(20), "-n", "4", "--ignore-eos",
                       "--kv-policy", "sage", "--kv-budget", "8"});
  for (const char* phase : {"load", "prefill", "decode"}) CHECK(run.count("phase", phase) == 1);
  CHECK(run.count("phase", "compact") == 3);
  CHECK(run.spans("token").size() == 3);
  CHECK(run.count("token", "token 3") == 1);
  CHECK(run.spans("layer").size() == 3 * (1 + 3));
  for (const char* step : {"qkv", "attention", "attention_output", "gate_up", "down"}) {
    CHECK(run.count("step", step) == 3 * (1 + 3));
  }
  for (const char* step : {"attention_scores", "top_k", "list_kept", "gather_rows"}) {
    CHECK(run.count("step", step) == 3);
  }
  CHECK(run.count("step", "sample") == 4);
  const auto phases = run.spans("phase");
  const auto layers = run.spans("layer");
  for (const OrderedJson& layer : layers) {
    const auto in_phase = [&](const OrderedJson& phase) { return lies_in(layer, phase); };
    CHECK(std::ranges::count_if(phases, in_phase) == 1);
  }
  for (const OrderedJson& step : run.spans("step")) {
    if (!step.contains("args") || !step["args"].contains("layer")) continue;
    const auto around =
        std::ranges::find_if(layers, [&](const auto& l) { return lies_in(step, l); });
    REQUIRE(around != layers.end());
    CHECK(step["args"]["layer"] == (*around)["args"]["layer"]);
  }
}

TEST_CASE("cli trace: memory is a counter whose highest value never falls") {
  const TinyDir tiny;
  const TracedRun run({"generate", "-m", tiny.name(), "-p", text_of(20), "-n", "4"});
  uint64_t highest = 0;
  int64_t n = 0;
  for (const OrderedJson& event : run.events) {
    if (event["ph"] != "C") continue;
    ++n;
    CHECK(event["name"] == "memory");
    CHECK(event["args"]["highest"].get<uint64_t>() >= highest);
    highest = event["args"]["highest"].get<uint64_t>();
    CHECK(event["args"]["held"].get<uint64_t>() <= highest);
  }
  CHECK(n >= 2);
  CHECK(highest > 0);
}

TEST_CASE("cli trace: bench leaves its warm-ups out, and what is measured is the same work") {
  const TinyDir tiny({.max_positions = 1000});
  const TracedRun run({"bench", "-m", tiny.name(), "-p", "9", "-n", "5", "-r", "2"});
  CHECK(run.count("phase", "prefill") == 2);
  CHECK(run.spans("token").size() == 2 * 5);
}

TEST_CASE("cli trace: a run that is interrupted leaves a whole file") {
  const TempDir dir;
  const std::string file = (dir / "trace.json").string();
  const Words run = {"generate", "-m", kDemo,   "-p",           "It was",  "-n",
                     "-1",       "-c", "32000", "--ignore-eos", "--trace", file};
  Process process({.arguments = run});
  REQUIRE(process.wait_until([&] { return process.so_far().out.size() > 50; }));
  process.send(SIGINT);
  CHECK(process.wait().code == 130);
  const OrderedJson trace = json_of(read_file(file));
  CHECK(trace["traceEvents"].size() > 100);

  // One that ends in the middle of a pass, with an error: nothing stands behind it.
  const std::string stopped = (dir / "stopped.json").string();
  Process bench({.arguments = {"bench", "-m", kDemo, "-p", "8000", "-n", "0", "--trace", stopped}});
  REQUIRE(bench.wait_for_error("memory"));
  usleep(300000);
  bench.send(SIGINT);
  CHECK(bench.wait().code == 130);
  const OrderedJson part = json_of(read_file(stopped));
  CHECK(part["otherData"]["timer"] == "clock");
  CHECK_FALSE(std::filesystem::exists(stopped + ".tmp"));
}

TEST_CASE("cli trace: a file that cannot be written is known before the model is loaded") {
  const TinyDir tiny;
  const Words run = {"generate", "-m", tiny.name(), "-p", "x", "-n", "1", "--trace"};
  check_failure(test::run(joined(run, {tiny.name() + "/none/t.json"})), 6, {"t.json"});
  check_failure(test::run(joined(run, {tiny.name()})), 6, {"regular file"});
  check_failure(test::run(joined(run, {"-"})), 2, {"--trace must be a file"});
  // What was there stays where the run does not even begin.
  const std::string kept = (tiny / "kept.json").string();
  write_file(kept, "old");
  fails({"generate", "-m", tiny.name(), "-p", text_of(1000), "--trace", kept}, 7);
  CHECK(read_file(kept) == "old");
}

TEST_CASE("cli trace: ranges for profilers are refused where they never come") {
  const TinyDir tiny;
  const Words generate = {"generate", "-m", tiny.name(), "-p", "x"};
  const Words bench = {"bench", "-m", tiny.name()};
  const auto refused = [](const Words& run, const Words& more, std::string_view why) {
    check_failure(test::run(joined(run, more)), 2, {"--profile-range", why});
  };
  refused(generate, {"--profile-range", "load"}, "prefill, decode or compact");
  refused(generate, {"--profile-range", "decode", "--device", "cpu"}, "--device cpu");
  refused(generate, {"--profile-range", "decode", "-n", "0"}, "none in this run");
  refused(generate, {"--profile-range", "compact"}, "no rows are dropped");
  refused(bench, {"--profile-range", "prefill", "-p", "0"}, "none in this run");
  refused(bench, {"--profile-range", "decode", "-n", "0"}, "none in this run");
  refused(bench, {"--profile-range", "compact"}, "no rows are dropped");
  refused(bench, {"--profile-range", "decode", "--kernel", "qkv"}, "whole passes");
  check_failure(test::run(joined(generate, {"--profile-range", "prefill"})), 5, {"cpu ("});
  fails(joined(bench, {"--kernels", "--kernel", "qkv"}), 2);
  fails({"eval", "-m", tiny.name(), "ppl", "-f", "x", "--trace", "t.json"}, 2);
}

}  // namespace winnow::test
