// The promises about winnowed caches, one function each; both devices' tests run all of them.
#pragma once

#include "tests/support/winnow_ahead.h"
#include "tests/support/winnow_cases.h"
#include "tests/support/winnow_events.h"
#include "tests/support/winnow_saved.h"

namespace winnow::test {

inline void check_big_budget_is_full(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 1);
    const auto run = [&](const KvOptions& options) {
      Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
      sequence.prefill(prompt);
      std::vector<float> logits = last_logits(sequence, model);
      for (int i = 0; i < 40; ++i) step(sequence, i % int32_t(shape.vocab_size));
      CHECK(sequence.cache().head(0, 0).rows == kPrompt + 40);
      const std::vector<float> end = last_logits(sequence, model);
      logits.insert(logits.end(), end.begin(), end.end());
      return logits;
    };
    const std::vector<float> full = run({});
    for (const char* policy : {"sage", "streaming", "random"}) {
      CAPTURE(policy);
      CHECK(same_bits(run(kv_options(policy, kPrompt)), full));
      CHECK(same_bits(run(kv_options(policy, 100000)), full));
    }
  }
}

inline void check_selection_is_the_rule(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    for (const int64_t budget : {kPrompt - 1, int64_t{33}, 2 * model.config.group() + 2}) {
      CAPTURE(budget);
      for (const int64_t prefill_rows : {0, 7}) {
        Sequence sequence = make_sequence(model, kv_options("sage", double(budget)), kPrompt,
                                          kCapacity, prefill_rows);
        const auto layers = prefill_copied(sequence, model, prompt_of(shape, kPrompt, 2));
        check_selection(sequence, model, layers);
        CHECK(sequence.cache().next_position() == kPrompt);
      }
    }
  }
}

inline void check_equals_masked_full(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 3);
    const std::vector<int32_t> more = prompt_of(shape, 25, 4);
    for (const char* policy : {"sage", "streaming", "random"}) {
      CAPTURE(policy);
      Sequence winnowed = make_sequence(model, kv_options(policy, 24), kPrompt, kCapacity);
      Sequence full = make_sequence(model, {}, kPrompt, kCapacity);
      winnowed.prefill(prompt);
      full.prefill(prompt);
      CHECK(nmse(last_logits(winnowed, model), last_logits(full, model)) < way_tolerance(type));
      check_against_masked(winnowed, full, model, more, way_tolerance(type));
    }
  }
}

/// In a model of one layer a row depends on its own token alone, so a text whose beginning was
/// dropped is the text without it.
inline void check_dropped_prefix_is_suffix(const Loader& load, DType type) {
  TinyModel shape{.n_layers = 1, .max_positions = 4096, .type = type};
  const Model model = load(shape, kCapacity);
  const std::vector<int32_t> text = prompt_of(shape, kPrompt + 30, 5);
  const int64_t budget = 20;
  for (const int64_t sink : {0, 4}) {
    for (const bool places : {false, true}) {
      KvOptions options = kv_options("streaming", double(budget));
      options.sink = sink;
      options.places_in_cache = places;
      Sequence winnowed = make_sequence(model, options, kPrompt, kCapacity);
      winnowed.prefill(std::span(text).first(kPrompt));
      for (size_t i = kPrompt; i < text.size(); ++i) step(winnowed, text[i]);
      std::vector<int32_t> left(text.begin(), text.begin() + sink);
      left.insert(left.end(), text.end() - (budget - sink), text.end());
      Sequence dense(model.network(), kCapacity, 0);
      dense.prefill(left);
      CAPTURE(sink);
      CAPTURE(places);
      const double error = nmse(last_logits(winnowed, model), last_logits(dense, model));
      // With sinks the gap in the text is a gap between positions, unless places are counted.
      if (sink == 0 || places) CHECK(error < 10 * way_tolerance(type));
      if (sink > 0 && !places) CHECK(error > 10 * way_tolerance(type));
    }
  }
}

/// The kept positions of one head after `steps` more tokens, by the ring's rule.
inline void check_ring(const Sequence& sequence, const KeptRecord& before, int64_t recent,
                       int64_t steps) {
  const KeptRecord after = sequence.cache().kept();
  for (size_t i = 0; i < before.heads.size(); ++i) {
    const std::vector<int32_t>& old = before.heads[i].position;
    const std::vector<int32_t>& now = after.heads[i].position;
    REQUIRE(now.size() == old.size());
    const auto fixed = std::ptrdiff_t(old.size()) - recent;
    CHECK(std::equal(old.begin(), old.begin() + fixed, now.begin()));
    for (int64_t r = 0; r < recent; ++r) {
      REQUIRE(now[size_t(fixed + r)] == before.n_tokens + steps - recent + r);
    }
  }
}

inline void check_ring_turns(const Loader& load, DType type) {
  const TinyModel shape = winnow_shapes(type)[0];
  const Model model = load(shape, kCapacity);
  Sequence sequence = make_sequence(model, kv_options("sage", 16), kPrompt, kCapacity);
  sequence.prefill(prompt_of(shape, kPrompt, 6));
  const KeptRecord before = sequence.cache().kept();
  const int64_t recent = sequence.kv_settings().shares.recent;
  REQUIRE(recent == 4);
  for (int64_t i = 1; i <= 3 * recent + 2; ++i) {
    step(sequence, int32_t(i) % 32);
    CHECK(sequence.cache().next_position() == kPrompt + i);
    if (i >= recent) check_ring(sequence, before, recent, i);
  }
}

/// A list a KV head: every row that is taken is seen by its whole group, and counts are exact.
inline void check_groups(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    for (const Group group : {Group::kMean, Group::kMax, Group::kSum}) {
      KvOptions options = kv_options("sage", 26);
      options.group = group;
      Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
      sequence.prefill(prompt_of(shape, kPrompt, 19));
      const KeptRecord kept = sequence.cache().kept();
      for (const KeptHead& head : kept.heads) {
        CHECK(head.position.size() == 26);
        for (const uint32_t mask : head.mask) {
          CHECK(head_bits(model, mask) == head_bits(model, kSeenByAll));
        }
      }
    }
  }
}

/// What lists share is spent on more rows, until no list could take one more.
inline void check_fill(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    KvOptions options = kv_options("sage", 30);
    Sequence plain = make_sequence(model, options, kPrompt, kCapacity);
    options.fill = true;
    Sequence filled = make_sequence(model, options, kPrompt, kCapacity);
    plain.prefill(prompt_of(shape, kPrompt, 20));
    filled.prefill(prompt_of(shape, kPrompt, 20));
    const KeptRecord a = plain.cache().kept();
    const KeptRecord b = filled.cache().kept();
    for (size_t i = 0; i < a.heads.size(); ++i) {
      CHECK(a.heads[i].position.size() <= 30);
      CHECK(b.heads[i].position.size() <= 30);
      // One more for each list would have been too many.
      CHECK(int64_t(b.heads[i].position.size()) > 30 - model.config.group());
      for (const int32_t position : a.heads[i].position) {
        CHECK(std::ranges::binary_search(b.heads[i].position, position));
      }
    }
  }
}

/// The meters against their closed formulas, m decode steps after one prompt of n tokens.
inline void check_meters(const Loader& load, DType type) {
  const TinyModel shape{.n_layers = 3, .max_positions = 4096, .type = type};
  const Model model = load(shape, kCapacity);
  Sequence sequence = make_sequence(model, kv_options("sage", 24), kPrompt, kCapacity);
  sequence.prefill(prompt_of(shape, kPrompt, 21));
  const double kept = double(sequence.cache().rows_held());
  const double m = 11, n = double(kPrompt), layers = 3, heads = layers * 2;
  for (int i = 0; i < int(m); ++i) step(sequence, i);
  CHECK(double(sequence.cache().rows_held()) == kept);
  const auto triangle = [](double x) { return x * (x + 1) / 2; };
  CHECK(sequence.meter().footprint() ==
        doctest::Approx((heads * triangle(n) + m * kept) / (heads * triangle(n + m))));
  CHECK(sequence.meter().peak_fraction() == doctest::Approx(n / (n + m)));
  CHECK(sequence.meter().most_held() == int64_t(2 * n + kept));
  double held = 0;  // layer by layer: what the layers before kept, and this one as it grows
  double before = 0;
  for (int64_t l = 0; l < 3; ++l) {
    held += n * before + 2 * triangle(n);
    before += double(sequence.cache().store().layer_rows(l));
  }
  held += m * layers * kept;
  CHECK(sequence.meter().occupancy() == doctest::Approx(held / (layers * heads * triangle(n + m))));
}

/// What was dropped is not held any more: neither in the cache's regions nor in scratch memory.
inline void check_memory_falls(const Loader& load, DType type) {
  TinyModel shape = winnow_shapes(type)[3];
  const int64_t n = 2000;
  const Model model = load(shape, n + 10);
  const uint64_t before = model.device->arena().used();
  const auto held_by = [&](const KvOptions& options) {
    Sequence sequence = make_sequence(model, options, n, n + 10);
    const uint64_t empty = model.device->arena().used();
    sequence.prefill(prompt_of(shape, n, 22));
    return model.device->arena().used() - empty;
  };
  const uint64_t full = held_by({});
  const uint64_t winnowed = held_by(kv_options("sage", 100));
  const uint64_t row = KvStore::row_bytes(model.config, model.device->compute_type());
  CHECK(full > uint64_t(n) * 6 * row);
  CHECK(winnowed < 100 * 6 * row + 4096);  // and counters
  CHECK(model.device->arena().used() == before);
}

/// Bytes that the system says are in use, for runs of `n` tokens: the fall must show from outside.
inline void check_fall_shows(const Model& model, const TinyModel& shape, int64_t n,
                             const std::function<int64_t()>& used_outside) {
  const auto grown_by = [&](const KvOptions& options) {
    const int64_t before = used_outside();
    Sequence sequence = make_sequence(model, options, n, n + 10);
    sequence.prefill(prompt_of(shape, n, 22));
    model.device->synchronize();
    return used_outside() - before;
  };
  grown_by({});  // what libraries take for themselves the first time
  const auto row = int64_t(KvStore::row_bytes(model.config, model.device->compute_type()));
  const int64_t full_bytes = n * shape.n_layers * shape.n_kv_heads * row;
  const int64_t full = grown_by({});
  const int64_t winnowed = grown_by(kv_options("sage", 100));
  CAPTURE(full);
  CAPTURE(winnowed);
  CHECK(full > full_bytes * 9 / 10);
  CHECK(winnowed < full_bytes / 4);
}

struct Promise {
  const char* name;
  void (*check)(const Loader& load, DType type);
};

inline const std::vector<Promise>& promises() {
  static const std::vector<Promise> all = {
      {"a budget of at least the prompt is the full cache, to the bit", check_big_budget_is_full},
      {"exactly the rule's rows are kept, whole", check_selection_is_the_rule},
      {"attention over kept rows equals masked attention over all", check_equals_masked_full},
      {"a dropped prefix is as if it had not been there", check_dropped_prefix_is_suffix},
      {"a ring turns and the chosen rows stay", check_ring_turns},
      {"two runs are the same to the bit", check_runs_repeat},
      {"a second prompt is appended", check_second_prompt_appended},
      {"a second prompt is selected together with the first", check_second_prompt_reselected},
      {"an interrupted prompt leaves the cache as it was", check_interrupted},
      {"rows are selected anew every so many tokens", check_recompaction},
      {"one prompt fills several caches", check_together},
      {"steps may be queued ahead", check_queued_ahead},
      {"a cache that was saved and loaded goes on as if it had not been",
       check_saved_is_never_saved},
      {"one list a KV head", check_groups},
      {"shared rows are spent on a larger k", check_fill},
      {"the meters read their closed formulas", check_meters},
      {"memory falls", check_memory_falls},
  };
  return all;
}

}  // namespace winnow::test
