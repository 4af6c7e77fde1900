// One prompt asked with several caches: each method's answer and cost are those of a sequence that
// read the prompt alone, in memory that holds no more than what was planned.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "src/base/splitmix.h"
#include "src/base/utf8.h"
#include "src/eval/runner.h"
#include "tests/support/eval_runs.h"
#include "tests/support/expect_error.h"
#include "tests/support/tight_device.h"
#include "tests/support/winnow_cases.h"

namespace winnow::test {
namespace {

constexpr int64_t kFirst = 70;
constexpr int64_t kThen = 9;
constexpr int64_t kMore = 25;

EvalSample sample_of(int64_t first, int64_t then, int64_t more, uint64_t seed = 1) {
  EvalSample sample{.task = "t", .id = "1"};
  sample.first = random_tokens(first, TinyDir::kVocabSize, seed);
  sample.then = random_tokens(then, TinyDir::kVocabSize, seed + 1);
  sample.answers = {"e"};
  sample.max_tokens = more;
  return sample;
}

/// All kinds: every row, rings, lists and one list, chance, a budget that the prompt fits.
std::vector<KvOptions> methods_of() {
  std::vector<KvOptions> methods = {{},
                                    kv_options("sage", 24),
                                    kv_options("streaming", 12),
                                    kv_options("random", 40),
                                    kv_options("sage", kFirst + 5),
                                    kv_options("sage", 30),
                                    kv_options("sage", 50),
                                    kv_options("random", 60)};
  methods[5].group = Group::kMax;
  methods[6].fill = true;
  methods[7].budget->unit = KvBudget::Unit::kPercent;
  for (KvOptions& method : methods) method.policy_options.seed = 17;
  return methods;
}

/// The same where what follows the prompt is selected from, or places are counted in the cache.
std::vector<KvOptions> reselecting_methods(int64_t recompact, bool reselect, bool places) {
  std::vector<KvOptions> methods = methods_of();
  for (KvOptions& method : std::span(methods).subspan(1)) {
    method.recompact = recompact;
    method.reselect = reselect;
    method.places_in_cache = places;
  }
  return methods;
}

/// A model with exactly the memory that was planned for `samples`, which is NaN where nothing was
/// written.
struct TightModel {
  TightModel(const std::vector<KvOptions>& methods, const std::vector<EvalSample>& samples,
             const TinyModel& shape = {}, int64_t rows = 9)
      : dir(shape), files(open_model(dir.name())), prefill_rows(rows) {
    auto device = std::make_unique<TightDevice>(files.config, pages);
    std::vector<RunShape> shapes;
    uint64_t most_scratch = 0;
    for (const EvalSample& sample : samples) {
      auto one = plan_runs(files, *device, methods, std::ssize(sample.first),
                           std::ssize(sample.then), sample.max_tokens);
      for (RunShape& run : one) run.prefill_rows = prefill_rows;
      most_scratch = std::max(most_scratch, plan_memory_together(files, *device, one).scratch);
      if (shapes.empty()) shapes = one;
      widen(shapes, one);
    }
    const MemoryPlan plan = plan_memory_together(files, *device, shapes);
    CHECK(plan.scratch >= most_scratch);
    model = load_model(files, std::move(device), plan, {});
  }

  SampleRunner runner(const std::vector<KvOptions>& methods) const {
    return {files, model, methods, prefill_rows};
  }

  TinyDir dir;
  ModelFiles files;
  int64_t prefill_rows;
  BlockPages::State pages;
  Model model;
};

int32_t likeliest(const Sequence& sequence, const ModelFiles& files) {
  std::vector<float> logits(static_cast<size_t>(files.tokenizer->vocab_size()));
  sequence.download_logits(logits);
  return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
}

/// What a sequence of its own answers with `kv`, whose seed is the one to draw with.
SampleResult answer_alone(const EvalSample& sample, const KvOptions& kv, const ModelFiles& files,
                          const Model& model, int64_t prefill_rows) {
  Sequence sequence = make_sequence(model, kv, std::ssize(sample.first),
                                    sample.tokens() + sample.max_tokens, prefill_rows);
  sequence.prefill(sample.first);
  if (!sample.then.empty()) sequence.prefill(sample.then);
  SampleResult result;
  result.rows_kept = sequence.cache().rows_held();
  result.bytes_kept = sequence.cache().bytes_held();
  for (int64_t n = 1;; ++n) {
    const int32_t token = likeliest(sequence, files);
    if (std::ranges::count(files.stop_ids, token) > 0) break;
    result.prediction += files.tokenizer->decode_piece(token, false);
    size_t end = std::string::npos;
    for (const std::string& stop : sample.stop) end = std::min(end, result.prediction.find(stop));
    if (end != std::string::npos) result.prediction.resize(end);
    if (end != std::string::npos || n == sample.max_tokens) break;
    step(sequence, token);
    ++result.decode_passes;
  }
  result.prediction = utf8_replace_invalid(result.prediction);
  const auto row = 2 * static_cast<uint64_t>(model.config.head_dim) * 4 + 8;  // K, V, place, mask
  result.bytes_peak = static_cast<uint64_t>(sequence.meter().most_held()) * row;
  result.footprint = sequence.meter().footprint();
  result.occupancy = sequence.meter().occupancy();
  const int64_t budget = sequence.kv_settings().budget;
  result.budget = budget == KvSettings::kNoBudget ? 0 : budget;
  return result;
}

void check_same_result(const SampleResult& a, const SampleResult& b) {
  CHECK(a.prediction == b.prediction);
  CHECK(a.rows_kept == b.rows_kept);
  CHECK(a.bytes_kept == b.bytes_kept);
  CHECK(a.bytes_peak == b.bytes_peak);
  CHECK(a.footprint == b.footprint);
  CHECK(a.occupancy == b.occupancy);
  CHECK(a.decode_passes == b.decode_passes);
}

/// Runs `sample` with all methods and each alone.
void check_as_alone(const EvalSample& sample, const std::vector<KvOptions>& methods,
                    const ModelFiles& files, const Model& model, int64_t prefill_rows) {
  constexpr uint64_t kDraw = 3;
  const uint64_t used = model.device->arena().used();
  const auto results = SampleRunner(files, model, methods, prefill_rows).run(sample, kDraw, {});
  CHECK(model.device->arena().used() == used);
  REQUIRE(results.size() == methods.size());
  for (size_t i = 0; i < methods.size(); ++i) {
    CAPTURE(i);
    CAPTURE(methods[i].policy);
    KvOptions kv = methods[i];
    kv.policy_options.seed = splitmix64(kv.policy_options.seed, kDraw);
    const SampleResult alone = answer_alone(sample, kv, files, model, prefill_rows);
    check_same_result(results[i], alone);
    CHECK(results[i].budget == alone.budget);
    CHECK(results[i].score == score_answer(sample.metric, alone.prediction, sample.answers));
    CHECK(results[i].decode_ms > 0);
  }
}

}  // namespace

TEST_CASE("eval runner: every method answers as if it had read the prompt alone") {
  for (TinyModel shape : winnow_shapes(DType::kF32)) {
    CAPTURE(shape.n_kv_heads);
    for (const int64_t then : {int64_t{0}, kThen}) {
      const EvalSample sample = sample_of(kFirst, then, kMore);
      const TightModel tight(methods_of(), {sample}, shape);
      check_as_alone(sample, methods_of(), tight.files, tight.model, tight.prefill_rows);
    }
  }
}

TEST_CASE("eval runner: the same where later rows are selected from, or places counted anew") {
  for (const int64_t recompact : {0, 4}) {
    for (const bool reselect : {false, true}) {
      for (const bool places : {false, true}) {
        CAPTURE(recompact);
        CAPTURE(reselect);
        CAPTURE(places);
        const auto methods = reselecting_methods(recompact, reselect, places);
        const EvalSample sample = sample_of(kFirst, kThen, kMore);
        const TightModel tight(methods, {sample});
        check_as_alone(sample, methods, tight.files, tight.model, tight.prefill_rows);
      }
    }
  }
}

TEST_CASE("eval runner: the full cache keeps every row, and so does a budget of the prompt") {
  const EvalSample sample = sample_of(kFirst, 0, kMore);
  const std::vector<KvOptions> methods = {
      kv_options("random", kFirst), kv_options("sage", 24), {}, kv_options("streaming", 7100)};
  const TightModel tight(methods, {sample});
  const std::vector<SampleResult> results = tight.runner(methods).run(sample, 0, {});
  const SampleResult& full = results[2];
  constexpr int64_t heads = 4;  // of two layers
  constexpr uint64_t row_bytes = 2 * 8 * 4 + 8;
  CHECK(full.budget == 0);
  CHECK(full.rows_kept == kFirst * heads);
  CHECK(full.bytes_kept == kFirst * heads * row_bytes);
  const auto all_rows = static_cast<uint64_t>((kFirst + full.decode_passes) * heads);
  CHECK(full.bytes_peak == all_rows * row_bytes);
  CHECK(full.footprint == 1);
  for (const size_t i : {0, 3}) check_same_result(results[i], full);
  CHECK(results[0].budget == kFirst);
  CHECK(results[3].budget == 7100);
  CHECK(results[1].rows_kept < full.rows_kept);
  CHECK(results[1].footprint < full.footprint);
  CHECK(results[1].bytes_peak < full.bytes_peak);
  check_same_result(tight.runner({KvOptions{}}).run(sample, 5, {})[0], full);
}

TEST_CASE("eval runner: what is drawn depends on the draw, and nothing else does") {
  const EvalSample sample = sample_of(kFirst, 0, kMore);
  const std::vector<KvOptions> methods = {kv_options("sage", 24), kv_options("random", 24),
                                          kv_options("random", 40)};
  const TightModel tight(methods, {sample});
  const SampleRunner runner = tight.runner(methods);
  const auto first = runner.run(sample, 0, {});
  const auto again = runner.run(sample, 0, {});
  const auto other = runner.run(sample, 1, {});
  for (size_t i = 0; i < methods.size(); ++i) check_same_result(first[i], again[i]);
  check_same_result(first[0], other[0]);
  for (const size_t i : {1, 2}) {
    CAPTURE(i);
    CHECK(first[i].rows_kept <= 4 * first[i].budget);
    CHECK(first[i].prediction != other[i].prediction);
  }
}

TEST_CASE("eval runner: samples of all lengths fit the memory of the widest of each") {
  // One that is shorter than the budget grows beyond it; a question may be longer than its text.
  const std::vector<EvalSample> samples = {sample_of(20, 0, 90), sample_of(5, 60, 3),
                                           sample_of(310, 300, 2), sample_of(120, 0, 8)};
  for (const int64_t recompact : {0, 3}) {
    for (const bool reselect : {false, true}) {
      std::vector<KvOptions> methods = {kv_options("sage", 24), kv_options("streaming", 45),
                                        kv_options("random", 90)};
      methods.back().budget->unit = KvBudget::Unit::kPercent;
      for (KvOptions& method : methods) {
        method.recompact = recompact;
        method.reselect = reselect;
      }
      const TinyModel shape{.head_dim = 64};
      const TightModel all(methods, samples, shape, 200);
      for (const EvalSample& sample : samples) {
        check_as_alone(sample, methods, all.files, all.model, 200);
        const TightModel one(methods, {sample}, shape, 200);
        one.runner(methods).run(sample, 0, {});
      }
    }
  }
}

TEST_CASE("eval runner: what does not fit the memory is refused in one line") {
  const TinyDir dir;
  const ModelFiles files = open_model(dir.name());
  const auto device = make_cpu_device(files.config, 1);
  const std::vector<KvOptions> methods = {{}, kv_options("sage", 24), kv_options("random", 24)};
  auto small = plan_runs(files, *device, methods, kFirst, 0, kMore);
  CHECK_NOTHROW(check_memory_together(plan_memory_together(files, *device, small), *device, 3));
  const int64_t huge = 2'000'000'000;  // of 288 bytes in all heads: half a terabyte
  const auto large = plan_runs(files, *device, methods, huge, 0, kMore);
  const auto refuse = [&](const std::vector<RunShape>& shapes) {
    const MemoryPlan plan = plan_memory_together(files, *device, shapes);
    CHECK(plan.kv > uint64_t{huge} * 288);
    expect_error(ExitCode::kMemory, {"out of memory on cpu", "3 KV caches", "needed", "free"},
                 [&] { check_memory_together(plan, *device, shapes.size()); });
  };
  refuse(large);
  widen(small, large);
  CHECK(small[0].capacity == huge + kMore);
  refuse(small);
}

TEST_CASE("eval runner: a prompt that is stopped leaves memory and model as they were") {
  const EvalSample sample = sample_of(kFirst, kThen, kMore);
  const std::vector<KvOptions> methods = methods_of();
  const TightModel tight(methods, {sample});
  const SampleRunner runner = tight.runner(methods);
  const auto expected = runner.run(sample, 2, {});
  Device& device = *tight.model.device;
  const auto memory = [&] {
    return std::vector<uint64_t>{
        device.scratch_region().used(), device.scratch_region().committed(),
        device.kv_region(0).used(),     device.kv_region(0).committed(),
        device.kv_region(1).used(),     device.kv_region(1).committed()};
  };
  const std::vector<uint64_t> before = memory();
  const uint64_t rows = 2 * kFirst;  // of two layers
  for (const uint64_t stop_at : {uint64_t{1}, rows / 2, rows / 2 + 1, rows}) {
    CAPTURE(stop_at);
    uint64_t last = 0;
    const auto stop = [&](uint64_t done, uint64_t total) {
      CHECK(total == rows);
      CHECK(done > last);
      last = done;
      if (done >= stop_at) throw std::runtime_error("stop");
    };
    CHECK_THROWS_AS(runner.run(sample, 2, stop), std::runtime_error);
    CHECK(last >= stop_at);
    CHECK(memory() == before);
  }
  const auto after = runner.run(sample, 2, {});
  for (size_t i = 0; i < after.size(); ++i) check_same_result(after[i], expected[i]);
}

TEST_CASE("eval runner: a signal stops a sample wherever it comes") {
  const EvalSample sample = sample_of(kFirst, kThen, kMore);
  const std::vector<KvOptions> methods = {{}, kv_options("sage", 24)};
  const TightModel tight(methods, {sample});
  const SampleRunner runner = tight.runner(methods);
  // The last call is followed by the second prompt, and without one by the answer.
  for (const bool in_answer : {false, true}) {
    EvalSample asked = sample;
    if (in_answer) asked.then.clear();
    for (const uint64_t when : {uint64_t{9}, uint64_t{2 * kFirst}}) {
      for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
        CAPTURE(when);
        CAPTURE(in_answer);
        const auto send_and_look = [&, sent = signal](uint64_t done, uint64_t) {
          if (done > when) _exit(98);  // it went on
          if (done == when) raise(sent);
        };
        CHECK(code_of([&] { runner.run(asked, 0, send_and_look); }) == code);
      }
    }
  }
}

TEST_CASE("eval runner: an answer keeps the space that it begins with") {
  const std::vector<KvOptions> full = {{}};
  const TightModel tight(full, {sample_of(4, 0, 1)});
  int with_space = 0;
  for (uint64_t seed = 1; seed < 600; ++seed) {
    const EvalSample sample = sample_of(4, 0, 1, seed);
    const std::string text = answer_alone(sample, {}, tight.files, tight.model, 9).prediction;
    if (text.empty() || text.front() != ' ') continue;
    ++with_space;
    CHECK(tight.runner(full).run(sample, 0, {})[0].prediction == text);
  }
  CHECK(with_space > 0);
}

TEST_CASE("eval runner: the bundled model, with stop strings") {
  const ModelFiles files = open_model(kDemo);
  EvalSample sample{.task = "t", .id = "1"};
  sample.first = files.tokenizer->encode(story(6) + "On day 7 the old man went to the");
  sample.answers = {"the", "captain"};
  sample.max_tokens = 24;
  const std::vector<KvOptions> methods = {
      {}, kv_options("sage", 40), kv_options("streaming", 40), kv_options("random", 40)};
  for (const bool unseen : {false, true}) {
    sample.stop = {"\n", "."};
    if (unseen) {
      sample.stop.clear();
      const auto middle = sample.first.end() - 30;
      sample.then.assign(middle, sample.first.end());
      sample.first.erase(middle, sample.first.end());
    }
    auto device = make_cpu_device(files.config, 1);
    const auto shapes = plan_runs(files, *device, methods, std::ssize(sample.first),
                                  std::ssize(sample.then), sample.max_tokens);
    const MemoryPlan plan = plan_memory_together(files, *device, shapes);
    const Model model = load_model(files, std::move(device), plan, {});
    check_as_alone(sample, methods, files, model, 0);
  }
}

}  // namespace winnow::test
