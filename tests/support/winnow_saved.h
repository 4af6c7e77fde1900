// The promise about saved caches, for both devices: loaded and continued equals never saved.
#pragma once

#include <memory>

#include "tests/support/saved_cache.h"
#include "tests/support/winnow_events.h"

namespace winnow::test {

/// All that `sequence` does from now on: draws with a penalty, a prompt, turns of rings,
/// selections.
inline State rest_of_run(Sequence& sequence, const Model& model, const TinyModel& shape) {
  const SamplerOptions draws{.temperature = 1, .repeat_penalty = 1.3F, .seed = 5};
  std::vector<float> all = last_logits(sequence, model);
  const auto go_on = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      all.push_back(float(sequence.sample(int32_t(shape.vocab_size), draws)));
      sequence.decode();
    }
  };
  go_on(9);
  sequence.prefill(prompt_of(shape, 11, 33));
  go_on(14);
  State state = state_of(sequence, model);
  all.insert(all.end(), state.logits.begin(), state.logits.end());
  state.logits = std::move(all);
  return state;
}

/// Everything that a meter tells but the most that was held, which is this process's.
inline void check_same_counts(const Sequence& a, const Sequence& b) {
  CHECK(a.meter().footprint() == b.meter().footprint());
  CHECK(a.meter().peak_fraction() == b.meter().peak_fraction());
  CHECK(a.meter().occupancy() == b.meter().occupancy());
  CHECK(a.rows_shared() == b.rows_shared());
  CHECK(a.cache().next_position() == b.cache().next_position());
}

/// Saved after `steps` tokens that followed the prompt. `saved_capacity` is that of the run that
/// saves, which may hold no token more.
inline void check_saved(const Model& model, const TinyModel& shape, const KvOptions& kv, int steps,
                        int64_t saved_capacity) {
  const TempDir dir;
  std::vector<int32_t> tokens = prompt_of(shape, kPrompt, 32);
  Sequence never_saved = make_sequence(model, kv, kPrompt, kCapacity);
  Sequence saved = make_sequence(model, kv, kPrompt, saved_capacity);
  for (Sequence* const sequence : {&never_saved, &saved}) {
    sequence->prefill(tokens);
    for (int i = 0; i < steps; ++i) step(*sequence, i);
  }
  for (int i = 0; i < steps; ++i) tokens.push_back(i);
  save(saved, model, kv, tokens, kPrompt, dir / "c");
  const std::unique_ptr<Sequence> loaded = load_saved(model, dir / "c", kCapacity);
  CHECK(same_bits(last_logits(*loaded, model), last_logits(never_saved, model)));
  CHECK(loaded->cache().rows_held() == never_saved.cache().rows_held());
  check_same_counts(*loaded, never_saved);
  check_same(state_of(*loaded, model), state_of(never_saved, model));
  check_same(rest_of_run(*loaded, model, shape), rest_of_run(never_saved, model, shape));
  check_same_counts(*loaded, never_saved);
}

inline void check_saved_is_never_saved(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    std::vector<KvOptions> all = {KvOptions{}, kv_options("sage", kPrompt + 5)};
    for (const KvOptions& kv : eventful_options()) all.push_back(kv);
    for (const KvOptions& kv : all) {
      CAPTURE(kv.policy);
      CAPTURE(kv.reselect);
      CAPTURE(kv.recompact);
      CAPTURE(kv.places_in_cache);
      check_saved(model, shape, kv, 0, kPrompt);
      check_saved(model, shape, kv, 7, kPrompt + 7);
      if (shape.n_layers == 3) break;  // the largest: for its head size
    }
  }
}

}  // namespace winnow::test
