// What must hold for a winnowed cache, as checks that both devices' tests run.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "src/forward.h"
#include "src/kv/settings.h"
#include "src/model.h"
#include "tests/support/loaded_model.h"
#include "tests/support/numbers.h"

namespace winnow::test {

/// Makes a model of a shape with room for texts of `capacity` tokens, on the device under test.
using Loader = std::function<Model(const TinyModel& shape, int64_t capacity)>;

constexpr int64_t kPrompt = 70;
constexpr int64_t kCapacity = 160;

inline std::vector<int32_t> prompt_of(const TinyModel& shape, int64_t n, uint64_t seed) {
  return random_tokens(n, shape.vocab_size, seed);
}

/// GQA, MHA and MQA, in the type under test.
inline std::vector<TinyModel> winnow_shapes(DType type) {
  std::vector<TinyModel> shapes = {
      {},
      {.n_heads = 4, .n_kv_heads = 4, .head_dim = 6, .seed = 2},
      {.n_heads = 3, .n_kv_heads = 1, .head_dim = 10, .tied = true, .seed = 3},
      {.hidden_size = 128, .n_layers = 3, .n_heads = 8, .n_kv_heads = 2, .head_dim = 64, .seed = 4},
  };
  for (TinyModel& shape : shapes) {
    shape.type = type;
    shape.max_positions = 4096;
  }
  return shapes;
}

/// How far two ways through the same arithmetic may be apart.
inline double way_tolerance(DType type) {
  return type == DType::kF32 ? 1e-10 : 1e-4;
}

inline KvOptions kv_options(const std::string& policy, double budget) {
  KvOptions options;
  options.policy = policy;
  options.budget = KvBudget{.unit = KvBudget::Unit::kRows, .amount = budget};
  return options;
}

/// A sequence for a text of `capacity` tokens that begins with `n_prompt`.
inline Sequence make_sequence(const Model& model, const KvOptions& kv, int64_t n_prompt,
                              int64_t capacity, int64_t prefill_rows = 0) {
  return {model.network(),
          {.capacity = capacity,
           .prefill_rows = prefill_rows,
           .kv = resolve_kv(kv, model.config, model.device->compute_type(), n_prompt)}};
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Reads one token in a decode step.
inline void step(Sequence& sequence, int32_t token) {
  sequence.set_next_token(token);
  sequence.decode();
}

/// Device memory as a list.
template <class T>
std::vector<T> downloaded(const Device& device, const T* from, int64_t n) {
  std::vector<T> list(static_cast<size_t>(n));
  const_cast<Device&>(device).download(list.data(), from, list.size() * sizeof(T));
  return list;
}

/// Bytes of the row of position `position` in head h, from k or v.
inline std::string row_bytes_at(const Model& model, const void* rows, int64_t entry) {
  const uint64_t bytes =
      static_cast<uint64_t>(model.config.head_dim) * dtype_size(model.device->compute_type());
  std::string row(bytes, '\0');
  model.device->download(row.data(), static_cast<const char*>(rows) + uint64_t(entry) * bytes,
                         bytes);
  return row;
}

/// Queries and rows of every layer before anything was dropped.
struct LayerCopy {
  std::vector<float> q;                     // [n_heads, head_dim]
  std::vector<std::vector<std::string>> k;  // [n_kv_heads][rows] bytes
  std::vector<std::vector<std::string>> v;
  std::vector<std::vector<int32_t>> position;
  std::vector<std::vector<uint32_t>> mask;
};

inline std::vector<float> as_floats(const std::string& bytes, DType type) {
  return decode({"", type, {bytes.size() / dtype_size(type)}, bytes});
}

inline LayerCopy copy_layer(const Model& model, const LayerRows& layer) {
  const DType type = model.device->compute_type();
  LayerCopy copy;
  std::string q(static_cast<size_t>(model.config.q_size()) * dtype_size(type), '\0');
  model.device->download(q.data(), layer.last_query, q.size());
  copy.q = as_floats(q, type);
  const auto first = downloaded(*model.device, layer.kv.first, model.config.n_kv_heads);
  for (size_t h = 0; h < first.size(); ++h) {
    const int64_t n = layer.rows[h];
    copy.position.push_back(downloaded(*model.device, layer.kv.position + first[h], n));
    copy.mask.push_back(downloaded(*model.device, layer.kv.mask + first[h], n));
    std::vector<std::string> k, v;
    for (int64_t r = 0; r < n; ++r) {
      k.push_back(row_bytes_at(model, layer.kv.k, first[h] + r));
      v.push_back(row_bytes_at(model, layer.kv.v, first[h] + r));
    }
    copy.k.push_back(std::move(k));
    copy.v.push_back(std::move(v));
  }
  return copy;
}

/// Prefill that keeps a copy of every layer.
inline std::vector<LayerCopy> prefill_copied(Sequence& sequence, const Model& model,
                                             std::span<const int32_t> tokens) {
  std::vector<LayerCopy> layers;
  PrefillHooks hooks;
  hooks.layer_rows = [&](const LayerRows& layer) { layers.push_back(copy_layer(model, layer)); };
  sequence.prefill(tokens, hooks);
  return layers;
}

/// Scores of the rows that query head g of KV head h sees, in double precision: row, score.
inline std::vector<std::pair<double, size_t>> naive_scores(const Model& model,
                                                           const LayerCopy& layer, int64_t h,
                                                           int64_t g) {
  const ModelConfig& c = model.config;
  const float* q = &layer.q[size_t((h * c.group() + g) * c.head_dim)];
  std::vector<std::pair<double, size_t>> scores;
  for (size_t r = 0; r < layer.k[size_t(h)].size(); ++r) {
    if (((layer.mask[size_t(h)][r] >> g) & 1U) == 0) continue;
    const std::vector<float> k = as_floats(layer.k[size_t(h)][r], model.device->compute_type());
    double dot = 0;
    for (size_t d = 0; d < k.size(); ++d) dot += double{q[d]} * k[d];
    scores.emplace_back(dot / std::sqrt(double(c.head_dim)), r);
  }
  return scores;
}

/// The masks that SAGE-KV's rule gives the rows of one head: row -> mask. Rows outside of the
/// middle keep theirs.
inline std::map<size_t, uint32_t> naive_selection(const Model& model, const LayerCopy& layer,
                                                  int64_t h, const KvSettings& kv) {
  const size_t n = layer.k[size_t(h)].size();
  const auto sink = size_t(kv.shares.sink);
  const size_t end = n - size_t(kv.shares.recent);
  std::map<size_t, uint32_t> kept;
  for (size_t r = 0; r < n; ++r) {
    const bool all = !kv.exceeds(int64_t(n)) || r < sink || r >= end;
    if (all) kept[r] = layer.mask[size_t(h)][r];
  }
  if (!kv.exceeds(int64_t(n))) return kept;
  for (int64_t g = 0; g < model.config.group(); ++g) {
    auto scores = naive_scores(model, layer, h, g);
    std::erase_if(scores, [&](const auto& s) { return s.second < sink || s.second >= end; });
    std::ranges::sort(scores, [](const auto& a, const auto& b) {
      return a.first > b.first || (a.first == b.first && a.second < b.second);
    });
    const size_t k = std::min(size_t(kv.shares.k), scores.size());
    for (size_t i = 0; i < k; ++i) kept[scores[i].second] |= 1U << g;
  }
  return kept;
}

/// The bits of a mask that stand for query heads.
inline uint32_t head_bits(const Model& model, uint32_t mask) {
  const int64_t group = model.config.group();
  return group == 32 ? mask : mask & ((1U << group) - 1);
}

/// That the cache holds exactly the rows that the rule picks from `layers`, each with its position,
/// its mask, its key and its value.
inline void check_selection(const Sequence& sequence, const Model& model,
                            const std::vector<LayerCopy>& layers) {
  const KeptRecord record = sequence.cache().kept();
  for (int64_t l = 0; l < model.config.n_layers; ++l) {
    const LayerCopy& layer = layers[size_t(l)];
    const KvRows rows = sequence.cache().layer(l);
    const auto first = downloaded(*model.device, rows.first, model.config.n_kv_heads);
    for (int64_t h = 0; h < model.config.n_kv_heads; ++h) {
      CAPTURE(l);
      CAPTURE(h);
      const auto expected = naive_selection(model, layer, h, sequence.kv_settings());
      const KeptHead& kept = record.head(l, h);
      REQUIRE(kept.position.size() == expected.size());
      size_t i = 0;
      for (const auto& [row, mask] : expected) {
        REQUIRE(kept.position[i] == layer.position[size_t(h)][row]);
        REQUIRE(head_bits(model, kept.mask[i]) == head_bits(model, mask));
        REQUIRE(row_bytes_at(model, rows.k, first[size_t(h)] + int64_t(i)) ==
                layer.k[size_t(h)][row]);
        REQUIRE(row_bytes_at(model, rows.v, first[size_t(h)] + int64_t(i)) ==
                layer.v[size_t(h)][row]);
        ++i;
      }
    }
  }
}

/// Masks of a full cache (row = position) that show exactly what `record` holds.
inline void hide_dropped(Sequence& full, const Model& model, const KeptRecord& record) {
  for (int64_t l = 0; l < model.config.n_layers; ++l) {
    const KvRows rows = full.cache().layer(l);
    const auto first = downloaded(*model.device, rows.first, model.config.n_kv_heads);
    for (int64_t h = 0; h < model.config.n_kv_heads; ++h) {
      std::vector<uint32_t> mask(size_t(full.cache().next_position()), 0);
      const KeptHead& kept = record.head(l, h);
      for (size_t i = 0; i < kept.position.size(); ++i) {
        mask[size_t(kept.position[i])] = kept.mask[i];
      }
      model.device->upload(rows.mask + first[size_t(h)], mask.data(), mask.size() * 4);
    }
  }
}

/// Decodes `tokens` with both, the full cache's dropped rows hidden before every step, and
/// compares.
inline void check_against_masked(Sequence& winnowed, Sequence& full, const Model& model,
                                 std::span<const int32_t> tokens, double tolerance) {
  for (const int32_t token : tokens) {
    KeptRecord record = winnowed.cache().kept();
    for (int64_t l = 0; l < model.config.n_layers; ++l) {
      for (int64_t h = 0; h < model.config.n_kv_heads; ++h) {
        const HeadRows head = winnowed.cache().head(l, h);
        if (head.ring_rows == 0) continue;
        KeptHead& kept = record.heads[size_t(l * model.config.n_kv_heads + h)];
        kept.mask[size_t(head.rows - head.ring_rows)] = 0;  // the step overwrites the oldest
      }
    }
    hide_dropped(full, model, record);
    step(winnowed, token);
    step(full, token);
    CHECK(nmse(last_logits(winnowed, model), last_logits(full, model)) < tolerance);
  }
}

/// What a sequence holds and says, for comparisons to the bit.
struct State {
  std::vector<float> logits;
  KeptRecord kept;
};

inline State state_of(const Sequence& sequence, const Model& model) {
  return {last_logits(sequence, model), sequence.cache().kept()};
}

inline void check_same(const State& a, const State& b) {
  CHECK(same_bits(a.logits, b.logits));
  REQUIRE(a.kept.heads.size() == b.kept.heads.size());
  CHECK(a.kept.n_tokens == b.kept.n_tokens);
  for (size_t i = 0; i < a.kept.heads.size(); ++i) {
    CHECK(a.kept.heads[i].position == b.kept.heads[i].position);
    CHECK(a.kept.heads[i].mask == b.kept.heads[i].mask);
  }
}

}  // namespace winnow::test
