// Cuts over the heads of a layer and over the whole model, and prompts that are read in chunks, as
// checks that both devices' tests run.
#pragma once

#include <tuple>

#include "src/kv/chunks.h"
#include "tests/support/winnow_cases.h"

namespace winnow::test {

/// The mean over the group of the last query's softmaxes, for every row of a head.
inline std::vector<double> naive_means(const Model& model, const LayerCopy& layer, int64_t h) {
  std::vector<double> means(layer.k[size_t(h)].size());
  for (int64_t g = 0; g < model.config.group(); ++g) {
    const auto scores = naive_scores(model, layer, h, g);
    double sum = 0;
    for (const auto& [score, row] : scores) sum += std::exp(score);
    for (const auto& [score, row] : scores) {
      means[row] += std::exp(score) / sum / double(model.config.group());
    }
  }
  return means;
}

/// Rows that one cut keeps: [n_layers * n_kv_heads] sets of row numbers.
inline std::vector<std::set<size_t>> naive_cut(const Model& model,
                                               const std::vector<LayerCopy>& layers,
                                               const KvSettings& kv) {
  const int64_t heads = model.config.n_kv_heads;
  std::vector<std::set<size_t>> kept(layers.size() * size_t(heads));
  using Candidate = std::tuple<double, size_t, size_t>;  // -score, head of the model, row
  std::vector<Candidate> candidates;
  const auto cut = [&](int64_t n) {
    std::ranges::sort(candidates);
    REQUIRE(std::ssize(candidates) >= n);
    for (int64_t i = 0; i < n; ++i) {
      kept[std::get<1>(candidates[size_t(i)])].insert(std::get<2>(candidates[size_t(i)]));
    }
    candidates.clear();
  };
  for (size_t l = 0; l < layers.size(); ++l) {
    for (int64_t h = 0; h < heads; ++h) {
      const size_t head = l * size_t(heads) + size_t(h);
      const std::vector<double> means = naive_means(model, layers[l], h);
      for (size_t r = 0; r < means.size(); ++r) {
        const bool between =
            r >= size_t(kv.shares.sink) && r + size_t(kv.shares.recent) < means.size();
        if (between) candidates.emplace_back(-means[r], head, r);
        if (!between) kept[head].insert(r);
      }
    }
    if (kv.cut == CutScope::kLayer) cut(heads * kv.shares.k);
  }
  if (kv.cut == CutScope::kModel) cut(std::ssize(layers) * heads * kv.shares.k);
  return kept;
}

/// That the cache holds these rows of `layers`, with their keys and values.
inline void check_rows(const Sequence& sequence, const Model& model,
                       const std::vector<LayerCopy>& layers,
                       const std::vector<std::set<size_t>>& expected) {
  const KeptRecord record = sequence.cache().kept();
  const int64_t heads = model.config.n_kv_heads;
  for (size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    const auto l = int64_t(i) / heads;
    const auto h = int64_t(i) % heads;
    const KvRows rows = sequence.cache().layer(l);
    const auto first = downloaded(*model.device, rows.first, heads);
    const KeptHead& kept = record.head(l, h);
    REQUIRE(kept.position.size() == expected[i].size());
    int64_t n = 0;
    for (const size_t row : expected[i]) {
      const int64_t entry = first[size_t(h)] + n;
      REQUIRE(kept.position[size_t(n)] == layers[size_t(l)].position[size_t(h)][row]);
      REQUIRE(row_bytes_at(model, rows.k, entry) == layers[size_t(l)].k[size_t(h)][row]);
      REQUIRE(row_bytes_at(model, rows.v, entry) == layers[size_t(l)].v[size_t(h)][row]);
      ++n;
    }
  }
}

/// A cut of a wider scope keeps the best rows of that scope, to the row, and the budget exactly;
/// what is decoded over them is what a full cache without the other rows says.
inline void check_cut(const Loader& load, DType type, CutScope scope) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    for (const double budget : {9.0, 24.0, 61.0}) {
      KvOptions options = kv_options("sage", budget);
      options.group = Group::kMean;
      options.policy_options.cut = scope;
      Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
      const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 41);
      const std::vector<LayerCopy> layers = prefill_copied(sequence, model, prompt);
      const int64_t heads = model.config.n_layers * model.config.n_kv_heads;
      CHECK(sequence.cache().rows_held() == heads * int64_t(budget));
      check_rows(sequence, model, layers, naive_cut(model, layers, sequence.kv_settings()));
      Sequence full = make_sequence(model, {}, kPrompt, kCapacity);
      full.prefill(prompt);
      check_against_masked(sequence, full, model, prompt_of(shape, 6, 42), way_tolerance(type));
    }
  }
}

/// Chunk by chunk each keeps its part of the budget, and the text's last tokens stay.
inline void check_chunks(const Loader& load, DType type, PrefillOrder order) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    for (const bool one_cut : {false, true}) {
      KvOptions options = kv_options("sage", 30);
      options.group = Group::kMean;
      options.policy_options.cut = one_cut ? CutScope::kModel : CutScope::kList;
      options.order = order;
      options.evict_chunk = 16;
      Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
      const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 43);
      sequence.prefill(prompt);
      const int64_t heads = model.config.n_layers * model.config.n_kv_heads;
      CHECK(sequence.cache().rows_held() == heads * 30);
      CHECK(sequence.cache().next_position() == kPrompt);
      const KeptRecord record = sequence.cache().kept();
      for (const KeptHead& head : record.heads) {
        CHECK(head.position.front() >= 0);
        CHECK(head.position.back() == kPrompt - 1);
        CHECK(std::ranges::is_sorted(head.position));
        if (one_cut) continue;
        for (int64_t first = 0; first < kPrompt; first += 16) {
          const int64_t end = std::min(first + 16, kPrompt);
          const auto in_chunk = [&](int32_t p) { return p >= first && p < end; };
          CHECK(std::ranges::count_if(head.position, in_chunk) ==
                30 * end / kPrompt - 30 * first / kPrompt);
        }
      }
      for (const int32_t token : prompt_of(shape, 5, 44)) step(sequence, token);
      CHECK(sequence.cache().rows_held() == heads * 35);
      const std::vector<float> logits = last_logits(sequence, model);
      CHECK(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }));
    }
  }
}

/// Every method keeps the rows that the budget promises, in every order of prefill, and what is
/// decoded over them is what a full cache without the others says. Two runs are alike to the bit.
inline void check_every_method(const Loader& load, DType type) {
  for (const TinyModel& shape : winnow_shapes(type)) {
    const Model model = load(shape, kCapacity);
    const int64_t heads = model.config.n_layers * model.config.n_kv_heads;
    const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 48);
    for (const std::string_view name : policy_names()) {
      // Those that choose rows while they write have tests of their own (winnow_decode.h).
      if (name == "full" || name == "h2o" || name == "quest") continue;
      CAPTURE(std::string(name));
      KvOptions options = kv_options(std::string(name), 40);
      options.evict_chunk = 33;
      const auto policy = make_policy(name);
      if (policy->own_options().window) options.policy_options.window = 8;
      for (const PrefillOrder order :
           {PrefillOrder::kLayer, PrefillOrder::kChunk, PrefillOrder::kPatched}) {
        if (order != PrefillOrder::kLayer && policy->scores_rows() && !policy->drops_chunks()) {
          continue;
        }
        CAPTURE(int(order));
        options.order = order;
        Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
        sequence.prefill(prompt);
        // Lists of query heads may take the same rows.
        const bool own_lists = policy->scores_rows() && policy->group() == Group::kHead;
        if (own_lists) CHECK(sequence.cache().rows_held() <= heads * 40);
        if (!own_lists) CHECK(sequence.cache().rows_held() == heads * 40);
        Sequence again = make_sequence(model, options, kPrompt, kCapacity);
        again.prefill(prompt);
        check_same(state_of(sequence, model), state_of(again, model));
        if (order != PrefillOrder::kLayer) continue;  // rows' values differ: they saw less
        Sequence full = make_sequence(model, {}, kPrompt, kCapacity);
        full.prefill(prompt);
        check_against_masked(sequence, full, model, prompt_of(shape, 4, 49), way_tolerance(type));
      }
    }
  }
}

/// A chunk as long as the prompt is the whole prompt, but that generated rows are added.
inline void check_one_chunk(const Loader& load, DType type) {
  const TinyModel shape = winnow_shapes(type).front();
  const Model model = load(shape, kCapacity);
  const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 45);
  const auto state = [&](PrefillOrder order) {
    KvOptions options = kv_options("sage", 24);
    options.order = order;
    options.evict_chunk = kPrompt;
    Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
    sequence.prefill(prompt);
    return state_of(sequence, model);
  };
  check_same(state(PrefillOrder::kLayer), state(PrefillOrder::kChunk));
  check_same(state(PrefillOrder::kLayer), state(PrefillOrder::kPatched));
}

}  // namespace winnow::test
