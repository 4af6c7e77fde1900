// The promises about methods that go on choosing while text is written, h2o and quest, as checks
// that both devices' tests run.
#pragma once

#include <memory>

#include "tests/support/slow_llama.h"
#include "tests/support/winnow_ahead.h"
#include "tests/support/winnow_events.h"

namespace winnow::test {

/// Three layers and more: quest reads all of the first two.
inline std::vector<TinyModel> decode_shapes(DType type) {
  std::vector<TinyModel> shapes = {
      {.n_layers = 3},
      {.n_layers = 4, .n_heads = 4, .n_kv_heads = 4, .head_dim = 6, .seed = 2},
      {.n_layers = 3, .n_heads = 3, .n_kv_heads = 1, .head_dim = 10, .tied = true, .seed = 3},
      {.hidden_size = 64, .n_layers = 3, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64, .seed = 4},
  };
  for (TinyModel& shape : shapes) {
    shape.type = type;
    shape.max_positions = 4096;
  }
  return shapes;
}

inline std::vector<KvOptions> decode_options() {
  std::vector<KvOptions> all;
  for (const bool reselect : {false, true}) {
    for (const int64_t recompact : {0, 6}) {
      for (const double budget : {20.0, kPrompt + 5.0}) {
        all.push_back(kv_options("h2o", budget));
        all.back().reselect = reselect;
        all.back().recompact = recompact;
      }
    }
  }
  all.push_back(kv_options("h2o", 20));
  all.back().recent = 4;
  all.push_back(kv_options("quest", 48));
  all.push_back(kv_options("quest", 64));
  return all;
}

/// How far numbers of fp32 may be from those of the slow model.
inline constexpr double kSlowTolerance = 1e-7;

/// The same rows as in the slow model, with the same scores where there are any.
inline void check_rows_are(const Sequence& sequence, const Model& model, SlowLlama& slow) {
  const KeptRecord kept = sequence.cache().kept();
  for (int64_t l = 0; l < kept.n_layers; ++l) {
    for (int64_t h = 0; h < kept.n_kv_heads; ++h) {
      CAPTURE(l);
      CAPTURE(h);
      const std::vector<SlowEntry> expected = slow.rows(l, h);
      const KvStore::HeadMemory memory = sequence.cache().store().head_memory(l, h);
      const auto n = int64_t(expected.size());
      REQUIRE(std::ssize(kept.head(l, h).position) == n);
      const auto order = sequence.cache().rows_by_age(l, h);
      std::vector<float> stored;
      if (memory.score != nullptr) stored = downloaded(*model.device, memory.score, n);
      std::vector<double> scores, expected_scores;
      for (size_t i = 0; i < expected.size(); ++i) {
        REQUIRE(kept.head(l, h).position[i] == expected[i].position);
        CHECK(head_bits(model, kept.head(l, h).mask[i]) == head_bits(model, kSeenByAll));
        if (stored.empty()) continue;
        scores.push_back(stored[size_t(order[i])]);
        expected_scores.push_back(expected[i].score);
      }
      CHECK(nmse(scores, expected_scores) < kSlowTolerance);
    }
  }
}

/// Prompt, tokens, a second prompt, more tokens: after each, what the slow model says.
inline void check_like_slow(const Model& model, const TinyModel& shape, const KvOptions& options,
                            const SlowRules& rules) {
  Sequence sequence = make_sequence(model, options, kPrompt, kCapacity, 9);
  SlowLlama slow(shape, rules);
  const auto check = [&](const Numbers& expected) {
    REQUIRE(nmse(last_logits(sequence, model), expected) < kSlowTolerance);
  };
  const auto write = [&](int64_t n, uint64_t seed) {
    for (const int32_t token : prompt_of(shape, n, seed)) {
      step(sequence, token);
      check(slow.step(token));
    }
    check_rows_are(sequence, model, slow);
  };
  sequence.prefill(prompt_of(shape, kPrompt, 41));
  check(slow.prefill(prompt_of(shape, kPrompt, 41)));
  check_rows_are(sequence, model, slow);
  write(40, 42);
  sequence.prefill(prompt_of(shape, 15, 43));
  check(slow.prefill(prompt_of(shape, 15, 43)));
  check_rows_are(sequence, model, slow);
  write(25, 44);
}

inline void check_h2o_is_the_rule(const Loader& load, DType type) {
  for (const TinyModel& shape : decode_shapes(type)) {
    const Model model = load(shape, kCapacity);
    for (const int64_t budget : {2, 21, 69, 80, 112}) {  // the last two hold the first prompt
      for (const bool reselect : {false, true}) {
        CAPTURE(shape.seed);
        CAPTURE(budget);
        CAPTURE(reselect);
        KvOptions options = kv_options("h2o", double(budget));
        options.reselect = reselect;
        check_like_slow(model, shape, options, {.budget = budget, .reselect = reselect});
      }
    }
  }
}

inline void check_quest_is_the_rule(const Loader& load, DType type) {
  for (const TinyModel& shape : decode_shapes(type)) {
    const Model model = load(shape, kCapacity);
    for (const int64_t budget : {1, 64, 95, 10000}) {
      CAPTURE(shape.seed);
      CAPTURE(budget);
      check_like_slow(model, shape, kv_options("quest", double(budget)),
                      {.pages = std::max<int64_t>(3, budget / 16)});
    }
  }
}

/// Where the budget holds every row, both are the full cache to the bit.
inline void check_decode_budget_is_full(const Loader& load, DType type) {
  for (const TinyModel& shape : decode_shapes(type)) {
    const Model model = load(shape, kCapacity);
    const auto run = [&](const KvOptions& options) { return eventful_run(model, shape, options); };
    const State full = run({});
    check_same(run(kv_options("h2o", kCapacity)), full);
    check_same(run(kv_options("quest", kCapacity)), full);
    // Fewer pages than there are make a difference.
    CHECK_FALSE(same_bits(run(kv_options("quest", 48)).logits, full.logits));
  }
}

inline void check_decode_repeats(const Loader& load, DType type) {
  for (const TinyModel& shape : decode_shapes(type)) {
    const Model model = load(shape, kCapacity);
    for (const KvOptions& options : decode_options()) {
      CAPTURE(options.policy);
      CAPTURE(options.recompact);
      check_same(eventful_run(model, shape, options), eventful_run(model, shape, options));
    }
  }
}

/// A second prompt that stops anywhere leaves rows and scores as they were.
inline void check_decode_interrupted(const Loader& load, DType type) {
  const TinyModel shape = decode_shapes(type)[0];
  const Model model = load(shape, 2 * kCapacity);
  for (const KvOptions& options : decode_options()) {
    const auto begin = [&](Sequence& sequence) {
      sequence.prefill(prompt_of(shape, kPrompt, 16));
      for (int i = 0; i < 9; ++i) step(sequence, i);
    };
    const auto end = [&](Sequence& sequence) {
      sequence.prefill(prompt_of(shape, 21, 17));
      for (int i = 0; i < 9; ++i) step(sequence, i);
      return state_of(sequence, model);
    };
    Sequence undisturbed = make_sequence(model, options, kPrompt, kCapacity, 5);
    begin(undisturbed);
    const State expected = end(undisturbed);
    Sequence disturbed = make_sequence(model, options, kPrompt, kCapacity, 5);
    begin(disturbed);
    for (const uint64_t stop_at : {1, 21, 26, 42}) {
      PrefillHooks hooks;
      hooks.progress = [&](uint64_t done, uint64_t) {
        if (done >= stop_at) throw std::runtime_error("stop");
      };
      CHECK_THROWS(disturbed.prefill(prompt_of(shape, 21, 17), hooks));
    }
    check_same(end(disturbed), expected);
  }
}

/// One prompt for several caches, of which some want to know sums and the first does not.
inline void check_decode_together(const Loader& load, DType type) {
  for (const TinyModel& shape : decode_shapes(type)) {
    const Model model = load(shape, 8 * kCapacity);
    const std::vector<KvOptions> options = {kv_options("streaming", 12), kv_options("h2o", 24),
                                            kv_options("quest", 48), kv_options("h2o", 100)};
    const auto finish = [&](Sequence& sequence) {
      for (int i = 0; i < 25; ++i) step(sequence, i);
      return state_of(sequence, model);
    };
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<Sequence*> all;
    for (const KvOptions& kv : options) {
      const DType compute = model.device->compute_type();
      sequences.emplace_back(
          new Sequence(model.network(), {.capacity = kCapacity,
                                         .prefill_rows = 9,
                                         .kv = resolve_kv(kv, model.config, compute, kPrompt)}));
      all.push_back(sequences.back().get());
    }
    Sequence::prefill_together(all, prompt_of(shape, kPrompt, 30));
    for (size_t i = 0; i < options.size(); ++i) {
      CAPTURE(i);
      Sequence alone = make_sequence(model, options[i], kPrompt, kCapacity, 9);
      alone.prefill(prompt_of(shape, kPrompt, 30));
      check_same(finish(*all[i]), finish(alone));
    }
  }
}

/// Steps that are queued behind a stop token leave nothing behind.
inline void check_decode_ahead(const Loader& load, DType type) {
  const TinyModel shape = decode_shapes(type)[0];
  const Model model = load(shape, kCapacity);
  for (const KvOptions& options : decode_options()) {
    const AheadRun unstopped = run_ahead(model, shape, options, {}, 0);
    const std::vector<int32_t> stop = {unstopped.tokens[size_t(7)]};
    for (const std::vector<int32_t>& ids : {std::vector<int32_t>{}, stop}) {
      const AheadRun one = run_ahead(model, shape, options, ids, 0);
      const AheadRun queued = run_ahead(model, shape, options, ids, 2);
      CHECK(one.tokens == queued.tokens);
      check_same(one.first, queued.first);
      check_same(one.second, queued.second);
    }
  }
}

/// Those that hold for every type, and the slow model's, which needs fp32.
struct DecodePromise {
  const char* name;
  void (*check)(const Loader& load, DType type);
  bool fp32_alone = false;
};

inline const std::vector<DecodePromise>& decode_promises() {
  static const std::vector<DecodePromise> all = {
      {"h2o keeps and replaces the rows of its rule", check_h2o_is_the_rule, true},
      {"quest reads the pages of its rule", check_quest_is_the_rule, true},
      {"a budget for all rows is the full cache, to the bit", check_decode_budget_is_full},
      {"two runs are the same to the bit", check_decode_repeats},
      {"an interrupted prompt leaves the cache as it was", check_decode_interrupted},
      {"one prompt fills several caches", check_decode_together},
      {"steps may be queued ahead", check_decode_ahead},
  };
  return all;
}

}  // namespace winnow::test
