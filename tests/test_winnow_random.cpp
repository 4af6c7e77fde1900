// Winnowed caches through random events, next to a slow model of them, to a full cache whose
// dropped rows are hidden, and to sums over single query rows; and the memory that is planned for
// them.
#include <doctest/doctest.h>

#include <array>
#include <numeric>
#include <random>

#include "tests/support/event_player.h"

using namespace winnow;
using namespace winnow::test;

namespace {

std::vector<TinyModel> shapes() {
  std::vector<TinyModel> all = winnow_shapes(DType::kF32);
  all.pop_back();  // the large one
  all.push_back({.n_heads = 32, .n_kv_heads = 1, .head_dim = 2, .seed = 5});
  all.push_back({.n_layers = 1, .n_heads = 6, .n_kv_heads = 3, .seed = 6});
  for (TinyModel& shape : all) shape.max_positions = 4096;
  return all;
}

ModelFiles files_of(const TinyModel& shape) {
  const TempDir dir;
  write_tiny_model(dir.path(), shape);
  return open_network(dir.path());
}

/// The options of a run, and its pages: of the smallest, every allocation has its own.
struct RandomRun {
  explicit RandomRun(uint32_t seed) : random(seed) {
    constexpr std::array kPolicies = {"sage", "streaming", "random"};
    constexpr std::array kGroups = {Group::kMean, Group::kMax, Group::kSum};
    options = kv_options(kPolicies[below(3)], double(1 + below(EventPlayer::kLongest)));
    const bool scores = options.policy != "streaming";
    if (below(4) == 0) options.sink = int64_t(below(6));
    if (below(4) == 0) options.recent = int64_t(1 + below(6));
    if (scores && below(4) == 0) options.group = kGroups[below(3)];
    options.fill = scores && !options.group && below(4) == 0;
    options.reselect = below(2) == 0;
    if (below(2) == 0) options.recompact = int64_t(1 + below(below(3) == 0 ? 60 : 8));
    options.places_in_cache = below(4) == 0;
    prefill_rows = int64_t(below(8));
    pages.page_bytes = uint64_t{256} << below(4);
  }

  size_t below(size_t n) { return random() % n; }

  /// False where the budget is too small for the method.
  bool resolve(const ModelConfig& config, int64_t prompt_tokens) {
    try {
      kv = resolve_kv(options, config, DType::kF32, prompt_tokens);
      return true;
    } catch (const Error& error) {
      CHECK(int(error.code()) == int(ExitCode::kUsage));
      return false;
    }
  }

  std::mt19937 random;
  KvOptions options;
  KvSettings kv;
  int64_t prefill_rows = 0;
  BlockPages::State pages;
};

}  // namespace

TEST_CASE("winnowed cache: any events, next to a slow model of it") {
  int played = 0;
  int failures = 0;
  for (const TinyModel& shape : shapes()) {
    CAPTURE(shape.n_heads);
    const ModelFiles files = files_of(shape);
    for (uint32_t seed = 1; seed <= 150; ++seed) {
      RandomRun run(seed);
      if (!run.resolve(files.config, EventPlayer::kLongest)) continue;
      CAPTURE(seed);
      CAPTURE(run.options.policy);
      CAPTURE(run.kv.budget);
      CAPTURE(run.kv.reselect);
      CAPTURE(run.kv.recompact);
      CAPTURE(run.kv.places_in_cache);
      const Model model = load_model(files, std::make_unique<TightDevice>(files.config, run.pages),
                                     roomy_shape(EventPlayer::kText), {});
      const uint64_t used = model.device->arena().used();
      const uint64_t committed = model.device->arena().committed();
      {
        EventPlayer player(
            model, run.pages,
            {.capacity = EventPlayer::kText, .prefill_rows = run.prefill_rows, .kv = run.kv}, seed);
        player.play(14);
        failures += player.failures();
      }
      REQUIRE(model.device->arena().used() == used);
      REQUIRE(model.device->arena().committed() == committed);
      ++played;
    }
  }
  CHECK(played > 300);
  CHECK(failures > 300);
}

TEST_CASE("winnowed cache: the memory that is planned is enough") {
  int played = 0;
  for (const TinyModel& shape : shapes()) {
    CAPTURE(shape.n_heads);
    const ModelFiles files = files_of(shape);
    for (uint32_t seed = 1; seed <= 150; ++seed) {
      RandomRun run(seed);
      std::vector<int64_t> prompts(1 + run.below(3));
      for (int64_t& n : prompts) n = int64_t(1 + run.below(EventPlayer::kLongest));
      if (!run.resolve(files.config, prompts.front())) continue;
      CAPTURE(seed);
      CAPTURE(run.options.policy);
      CAPTURE(run.kv.budget);
      const int64_t capacity =
          std::accumulate(prompts.begin(), prompts.end(), int64_t(run.below(90)));
      const RunShape plan{.capacity = capacity,
                          .prompt_tokens = *std::ranges::max_element(prompts),
                          .prefill_rows = run.prefill_rows,
                          .kv = run.kv,
                          .kv_plan = plan_kv(run.kv, prompts, capacity)};
      run.pages.page_bytes = 256;  // nothing is left over by rounding
      const Model model =
          load_model(files, std::make_unique<TightDevice>(files.config, run.pages), plan, {});
      try {
        Sequence sequence(model.network(),
                          {.capacity = capacity, .prefill_rows = run.prefill_rows, .kv = run.kv});
        for (const int64_t n : prompts) {
          sequence.prefill(random_tokens(n, shape.vocab_size, seed));
        }
        while (sequence.cache().next_position() < capacity) step(sequence, 1);
      } catch (const Error& error) {
        FAIL_CHECK(error.what());
      }
      ++played;
    }
  }
  CHECK(played > 300);
}
