// Scenes for the steps that score rows by more than one query, and what they say in double
// precision.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/kv_steps.h"
#include "tests/support/window_layer.h"

namespace winnow::test {

inline constexpr WindowSum kWindowSums[] = {WindowSum::kMean, WindowSum::kSum, WindowSum::kNorm};

/// The last n tokens of a prompt over the rows of a layer, `ahead` of which lie behind those held.
struct WindowScene {
  WindowScene(const ModelConfig& c, const std::vector<int32_t>& held, int32_t n_queries,
              int32_t ahead, uint64_t seed)
      : n(n_queries),
        layer(window_layer(c, held, ahead, seed)),
        zones(held),
        queries(random_floats(n_queries * c.q_size(), seed + 1, 2)) {
    if (ahead == 0) return;
    zones.seen = held;
    for (int32_t& rows : zones.seen) rows += ahead;
  }

  KvRows rows() {
    KvRows kv = layer.view();
    kv.window = window;
    return kv;
  }

  /// Whether query i of the window sees row r of the head, which the mask may hide.
  bool sees(int64_t head, int64_t i, int64_t r) {
    const int64_t h = head / layer.config.group();
    const int64_t own = zones.view().seen_rows(h) - n + i;
    const auto position = [&](int64_t row) {
      return layer.position[size_t(layer.first[size_t(h)] + row)];
    };
    if (r > own || !layer.sees(head, r)) return false;
    return window == 0 || position(r) > position(own) - window;
  }

  double score(int64_t head, int64_t i, int64_t r) const {
    const ModelConfig& c = layer.config;
    const int64_t entry = layer.first[size_t(head / c.group())] + r;
    double dot = 0;
    for (int64_t d = 0; d < c.head_dim; ++d) {
      dot += double{queries[size_t((i * c.n_heads + head) * c.head_dim + d)]} *
             double{layer.k[size_t(entry * c.head_dim + d)]};
    }
    return dot / std::sqrt(double(c.head_dim));
  }

  /// Rows [0, rows) of one query head, as it is written; -infinity where no query sees the row.
  std::vector<double> naive(int64_t head, WindowSum how) {
    const int64_t h = head / layer.config.group();
    const int64_t seen_rows = zones.view().seen_rows(h);
    std::vector<double> sums(size_t(zones.rows[size_t(h)]), -INFINITY);
    for (int64_t i = 0; i < n; ++i) {
      std::vector<double> weights(size_t(seen_rows), 0);
      double total = 0;
      for (int64_t r = 0; r < seen_rows; ++r) {
        if (sees(head, i, r)) total += weights[size_t(r)] = std::exp(score(head, i, r));
      }
      for (int64_t r = 0; r < std::ssize(sums); ++r) {
        if (!sees(head, i, r)) continue;
        double& sum = sums[size_t(r)];
        if (sum == -INFINITY) sum = 0;
        const double weight = weights[size_t(r)] / total;
        sum += how == WindowSum::kNorm ? weight * weight : weight;
      }
    }
    for (double& sum : sums) {
      if (how == WindowSum::kMean) sum /= double(n);
      if (how == WindowSum::kNorm && sum != -INFINITY) sum = std::sqrt(sum);
    }
    return sums;
  }

  int64_t n;
  int64_t window = 0;
  TestLayer layer;
  TestZones zones;
  std::vector<float> queries;  // [n, n_heads, head_dim]
};

/// The greatest difference of scores relative to the expected ones; infinite where one is -infinity
/// or NaN and the other is not.
inline double worst_score(const float* actual, const std::vector<double>& expected) {
  double worst = 0;
  for (size_t r = 0; r < expected.size(); ++r) {
    const double a = actual[r], e = expected[r];
    const bool both = std::isfinite(a) && std::isfinite(e);
    const double error = both ? std::fabs(a - e) / (std::fabs(e) + 1e-30) : INFINITY;
    if (!(a == e) && !(error <= worst)) worst = error;
  }
  return worst;
}

/// A layer's output matrix [hidden, n_heads * head_dim] of random numbers as `type`, and factors:
/// random lower triangles.
struct TestOutput {
  TestOutput(const ModelConfig& c, int64_t hidden, uint64_t seed)
      : n_hidden(hidden),
        columns(c.q_size()),
        o(random_floats(hidden * c.q_size(), seed)),
        factor(random_floats(c.q_size() * c.head_dim, seed + 1)) {
    for (int64_t row = 0; row < c.q_size(); ++row) {
      for (int64_t j = row % c.head_dim + 1; j < c.head_dim; ++j) {
        factor[size_t(row * c.head_dim + j)] = 0;
      }
    }
  }

  LayerWeights view() const {
    LayerWeights w;
    w.o = {.data = o.data(), .type = DType::kF32, .rows = n_hidden, .cols = columns};
    w.o_factor = factor.data();
    return w;
  }

  /// The norm of a value of the head.  v [head_dim]
  double norm(const ModelConfig& c, const float* v, int64_t head, ValueNorm how) const {
    double sum = 0;
    const int64_t d = c.head_dim;
    const int64_t n_out = how == ValueNorm::kOutputL1 ? n_hidden : d;
    for (int64_t j = 0; j < n_out; ++j) {
      double out = how == ValueNorm::kValue ? v[j] : 0.0;
      for (int64_t i = 0; i < d && how != ValueNorm::kValue; ++i) {
        out += double{v[i]} * (how == ValueNorm::kOutputL1
                                   ? double{o[size_t(j * columns + head * d + i)]}
                                   : double{factor[size_t((head * d + i) * d + j)]});
      }
      sum += how == ValueNorm::kOutputL1 ? std::fabs(out) : out * out;
    }
    return how == ValueNorm::kOutputL1 ? sum : std::sqrt(sum);
  }

  int64_t n_hidden;
  int64_t columns;
  std::vector<float> o;       // [hidden, n_heads * head_dim]
  std::vector<float> factor;  // [n_heads, head_dim, head_dim]
};

}  // namespace winnow::test
