// Queries of a prompt, their statistics, and rows that these are to score.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "src/cpu/ops.h"
#include "tests/support/kv_steps.h"

namespace winnow::test {

/// MHA, GQA and MQA; odd and even numbers of pairs; every kind of frequencies.
inline std::vector<ModelConfig> query_shapes() {
  std::vector<ModelConfig> shapes = {attention_shape(3, 3, 6), attention_shape(6, 2, 10),
                                     attention_shape(4, 1, 64), attention_shape(5, 1, 130)};
  shapes[1].rope = {
      .type = RopeType::kYarn, .factor = 4, .original_positions = 64, .attention_factor = 1.3};
  shapes[2].rope = {.type = RopeType::kDynamic, .factor = 2, .original_positions = 100};
  return shapes;
}

/// `n` queries of a text's tokens from `first` on, plain and as the rotation leaves them. Their
/// mean is not 0, and their elements know of one another.
struct QueryCase {
  QueryCase(const ModelConfig& c, int64_t n_queries, int32_t first, uint64_t seed)
      : config(c),
        n(n_queries),
        plain(random_floats(n * c.q_size(), seed)),
        rotated(poisoned(n * c.q_size())) {
    for (size_t i = plain.size() - 1; i > 0; --i) plain[i] += 0.5F * plain[i - 1] + 0.25F;
    const RopeFrequencies frequencies = rope_frequencies(c, first + n);
    std::vector<float> angles(size_t(c.head_dim));
    for (int64_t i = 0; i < n; ++i) {
      position.push_back(first + int32_t(i));
      cpu::rope_angles(position.back(), frequencies, c.head_dim, angles.data());
      const auto at = size_t(i * c.q_size());
      cpu::rope(&plain[at], angles.data(), c.n_heads, c.head_dim, &rotated[at]);
    }
  }

  /// In chunks that end before the queries of these numbers.
  template <class Statistics>
  void add_to(Device& device, Statistics& statistics, const std::vector<int64_t>& ends) const {
    int64_t begin = 0;
    for (const int64_t end : ends) {
      std::vector<float> q(rotated.begin() + begin * config.q_size(),
                           rotated.begin() + end * config.q_size());
      Activations a;
      a.q = q.data();
      const Batch batch{
          .n = end - begin, .position = position.data() + begin, .length = position.back() + 1};
      device.add_query_statistics(batch, a, statistics.view());
      begin = end;
    }
  }

  ModelConfig config;
  int64_t n;
  std::vector<float> plain, rotated;  // [n, n_heads, head_dim]
  std::vector<int32_t> position;      // [n]
};

struct TestStatistics {
  explicit TestStatistics(const ModelConfig& c)
      : sum(size_t(c.q_size()), 0.0F), products(size_t(c.q_size() * c.head_dim), 0.0F) {}

  QueryStatistics view() { return {.sum = sum.data(), .products = products.data()}; }

  std::vector<float> sum;       // [n_heads, head_dim]
  std::vector<float> products;  // [n_heads, head_dim, head_dim]
};

/// Rows with masks, places that rise by 2, and a window.
struct ExpectedCase {
  ExpectedCase(const ModelConfig& c, std::vector<int32_t> held, uint64_t seed)
      : zones(held.empty() ? some_rows(c) : std::move(held)), layer(c, zones.rows, 1, seed) {
    for (size_t h = 0; h < zones.rows.size(); ++h) {
      for (int64_t r = 0; r < zones.rows[h]; ++r) {
        layer.position[size_t(layer.first[h] + r)] = int32_t(2 * r);
      }
    }
  }

  static std::vector<int32_t> some_rows(const ModelConfig& c) {
    std::vector<int32_t> held = {137, 0, 1};
    held.resize(size_t(c.n_kv_heads), 64);
    return held;
  }

  KvRows rows() {
    KvRows kv = layer.view();
    kv.window = window;
    return kv;
  }
  bool in_window(int64_t h, int64_t r) const {
    return window == 0 || 2 * r > 2 * (zones.rows[size_t(h)] - 1) - window;
  }
  TestLists head_lists() const { return {layer.config.n_heads, zones.view().max_rows}; }
  TestLists kv_lists() const { return {layer.config.n_kv_heads, zones.view().max_rows}; }

  TestZones zones;
  TestLayer layer;
  int64_t window = 220;  // of places
};

}  // namespace winnow::test
