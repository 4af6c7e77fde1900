// The promises about winnowed caches to which more happens than one prompt: later prompts,
// interruptions, selections between tokens.
#pragma once

#include <memory>

#include "tests/support/winnow_cases.h"

namespace winnow::test {

/// A run with a second prompt, selections between tokens, and rings that turn.
inline State eventful_run(const Model& model, const TinyModel& shape, const KvOptions& options) {
  Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
  sequence.prefill(prompt_of(shape, kPrompt, 7));
  for (int i = 0; i < 13; ++i) step(sequence, i);
  sequence.prefill(prompt_of(shape, 9, 8));
  for (int i = 0; i < 22; ++i) {
    sequence.sample(int32_t(shape.vocab_size), {});
    sequence.decode();
  }
  return state_of(sequence, model);
}

inline std::vector<KvOptions> eventful_options() {
  std::vector<KvOptions> all;
  for (const char* policy : {"sage", "streaming", "random"}) {
    for (const bool reselect : {false, true}) {
      for (const int64_t recompact : {0, 6}) {
        for (const bool places : {false, true}) {
          all.push_back(kv_options(policy, 20));
          all.back().reselect = reselect;
          all.back().recompact = recompact;
          all.back().places_in_cache = places;
        }
      }
    }
  }
  for (const Group group : {Group::kMean, Group::kMax, Group::kSum}) {
    all.push_back(kv_options("sage", 20));
    all.back().group = group;
    all.back().reselect = true;
  }
  all.push_back(kv_options("sage", 20));
  all.back().fill = true;
  return all;
}

inline void check_runs_repeat(const Loader& load, DType type) {
  const TinyModel shape = winnow_shapes(type)[0];
  const Model model = load(shape, kCapacity);
  for (const KvOptions& options : eventful_options()) {
    CAPTURE(options.policy);
    CAPTURE(options.reselect);
    CAPTURE(options.recompact);
    check_same(eventful_run(model, shape, options), eventful_run(model, shape, options));
  }
}

/// How far two ways may be apart after rows were written on both that differ by rounding.
inline double later_tolerance(DType type) {
  return 4 * way_tolerance(type);
}

/// The second prompt reads what was kept of the first, as if the rest were masked.
inline void check_second_prompt_appended(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    const std::vector<int32_t> first = prompt_of(shape, kPrompt, 9);
    const std::vector<int32_t> second = prompt_of(shape, 15, 10);
    Sequence winnowed = make_sequence(model, kv_options("sage", 24), kPrompt, kCapacity);
    Sequence full = make_sequence(model, {}, kPrompt, kCapacity);
    winnowed.prefill(first);
    full.prefill(first);
    for (const int32_t token : {1, 2, 3}) {  // so that the ring has turned
      const KeptRecord before = winnowed.cache().kept();
      check_against_masked(winnowed, full, model, {&token, 1}, later_tolerance(type));
    }
    const KeptRecord before = winnowed.cache().kept();
    hide_dropped(full, model, before);
    winnowed.prefill(second);
    full.prefill(second);
    CHECK(nmse(last_logits(winnowed, model), last_logits(full, model)) < later_tolerance(type));
    const KeptRecord after = winnowed.cache().kept();
    for (size_t i = 0; i < before.heads.size(); ++i) {
      CHECK(after.heads[i].position.size() == before.heads[i].position.size() + 15);
      CHECK(std::equal(before.heads[i].mask.begin(), before.heads[i].mask.end(),
                       after.heads[i].mask.begin()));
    }
    check_against_masked(winnowed, full, model, prompt_of(shape, 30, 11), later_tolerance(type));
  }
}

/// Old and new rows are candidates together, and nobody sees again what it had given up.
inline void check_second_prompt_reselected(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    KvOptions options = kv_options("sage", 24);
    options.reselect = true;
    Sequence winnowed = make_sequence(model, options, kPrompt, kCapacity);
    Sequence full = make_sequence(model, {}, kPrompt, kCapacity);
    const std::vector<int32_t> first = prompt_of(shape, kPrompt, 12);
    const std::vector<int32_t> second = prompt_of(shape, 10, 13);
    winnowed.prefill(first);
    full.prefill(first);
    check_against_masked(winnowed, full, model, prompt_of(shape, 3, 14), later_tolerance(type));
    hide_dropped(full, model, winnowed.cache().kept());
    const auto layers = prefill_copied(winnowed, model, second);
    full.prefill(second);
    CHECK(nmse(last_logits(winnowed, model), last_logits(full, model)) < later_tolerance(type));
    check_selection(winnowed, model, layers);
    for (const LayerCopy& layer : layers) {
      for (const auto& positions : layer.position) {
        CHECK(std::ranges::is_sorted(positions));
        CHECK(positions.back() == winnowed.cache().next_position() - 1);
      }
    }
    check_against_masked(winnowed, full, model, prompt_of(shape, 30, 15), later_tolerance(type));
  }
}

/// A prompt that stops in the middle, anywhere, leaves everything as it was.
inline void check_interrupted(const Loader& load, DType type) {
  const TinyModel shape = winnow_shapes(type)[0];
  const Model model = load(shape, kCapacity);
  const std::vector<int32_t> first = prompt_of(shape, kPrompt, 16);
  const std::vector<int32_t> second = prompt_of(shape, 21, 17);
  for (const bool reselect : {false, true}) {
    KvOptions options = kv_options("sage", 24);
    options.reselect = reselect;
    const auto begin = [&](Sequence& sequence) {
      sequence.prefill(first);
      for (int i = 0; i < 9; ++i) step(sequence, i);
    };
    const auto end = [&](Sequence& sequence) {
      sequence.prefill(second);
      for (int i = 0; i < 9; ++i) step(sequence, i);
      return state_of(sequence, model);
    };
    Sequence undisturbed = make_sequence(model, options, kPrompt, kCapacity, 5);
    begin(undisturbed);
    const State expected = end(undisturbed);
    Sequence disturbed = make_sequence(model, options, kPrompt, kCapacity, 5);
    begin(disturbed);
    const State before = state_of(disturbed, model);
    const double footprint = disturbed.meter().footprint();
    const uint64_t used = model.device->arena().used();
    for (const uint64_t stop_at : {1, 21, 26, 42}) {
      PrefillHooks hooks;
      hooks.progress = [&](uint64_t done, uint64_t) {
        if (done >= stop_at) throw std::runtime_error("stop");
      };
      CHECK_THROWS(disturbed.prefill(second, hooks));
      CHECK(disturbed.cache().next_position() == kPrompt + 9);
      CHECK(disturbed.meter().footprint() == footprint);
      CHECK(model.device->arena().used() == used);
      const State now = state_of(disturbed, model);
      CHECK(now.kept.heads[0].position == before.kept.heads[0].position);
    }
    check_same(end(disturbed), expected);
  }
}

/// Every `recompact` tokens the rows are back within the budget; between, they grow by one a token.
inline void check_recompaction(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    KvOptions options = kv_options("sage", 24);
    options.recompact = 5;
    Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
    sequence.prefill(prompt_of(shape, kPrompt, 18));
    int64_t before = sequence.cache().rows_held();
    for (int64_t i = 1; i <= 23; ++i) {
      step(sequence, int32_t(i) % 32);
      const KeptRecord kept = sequence.cache().kept();
      for (const KeptHead& head : kept.heads) {
        CHECK(int64_t(head.position.size()) <= 24 + (i % 5 == 0 ? 0 : i % 5));
        CHECK(std::ranges::is_sorted(head.position));
        CHECK(head.position.front() == 0);
        CHECK(head.position.back() == kPrompt + i - 1);
      }
      const int64_t heads = shape.n_layers * shape.n_kv_heads;
      const int64_t now = sequence.cache().rows_held();
      if (i % 5 != 0) CHECK(now == before + heads);
      before = now;
    }
  }
}

/// One prompt that is read into several caches leaves each as if it had been read alone.
inline void check_together(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, 8 * kCapacity);
    const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 30);
    std::vector<KvOptions> options = {{}, kv_options("sage", 24), kv_options("sage", kPrompt + 5)};
    options.push_back(kv_options("streaming", 12));
    options.push_back(kv_options("random", 40));
    options.push_back(kv_options("sage", 30));
    options.back().recompact = 4;
    options.push_back(kv_options("sage", 30));
    options.back().group = Group::kMax;
    const auto finish = [&](Sequence& sequence) {
      State state = state_of(sequence, model);
      for (int i = 0; i < 25; ++i) step(sequence, i);
      const State end = state_of(sequence, model);
      state.logits.insert(state.logits.end(), end.logits.begin(), end.logits.end());
      state.kept.heads.insert(state.kept.heads.end(), end.kept.heads.begin(), end.kept.heads.end());
      return state;
    };
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<Sequence*> all;
    for (const KvOptions& kv : options) {
      const KvSettings settings =
          resolve_kv(kv, model.config, model.device->compute_type(), kPrompt);
      sequences.emplace_back(new Sequence(
          model.network(), {.capacity = kCapacity, .prefill_rows = 9, .kv = settings}));
      all.push_back(sequences.back().get());
    }
    Sequence::prefill_together(all, prompt);
    for (size_t i = 0; i < options.size(); ++i) {
      CAPTURE(i);
      Sequence alone = make_sequence(model, options[i], kPrompt, kCapacity, 9);
      alone.prefill(prompt);
      CHECK(alone.meter().footprint() == all[i]->meter().footprint());
      CHECK(alone.meter().most_held() == all[i]->meter().most_held());
      check_same(finish(*all[i]), finish(alone));
    }
  }
}

}  // namespace winnow::test
