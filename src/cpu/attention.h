// What the two ways to compute attention share; attention() in ops.h chooses between them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "src/kv/rows.h"
#include "weights/config.h"

namespace winnow::cpu {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// What the tasks of one call share.
struct AttentionProblem {
  const ModelConfig& config;
  int64_t n;       // batch rows
  const float* q;  // [n, n_heads, head_dim]
  const KvRows& kv;
  float* out = nullptr;  // [n, n_heads, head_dim]
  float* lse = nullptr;  // [n_heads, n] in base 2, or null
  float scale = 0;       // 1 / sqrt(head_dim)

  /// Stores the log-sum-exp of a query, where it is asked for.  sum: of e^(score - max)
  void store_lse(int64_t head, int64_t i, float max, float sum) const {
    constexpr float kLog2E = 1.44269504F;
    if (lse == nullptr) return;
    lse[head * n + i] = sum == 0 ? kMinusInfinity : max * kLog2E + std::log2(sum);
  }

  int64_t query_offset(int64_t h, int64_t i, int64_t g) const {
    return (i * config.n_heads + h * config.group() + g) * config.head_dim;
  }
  const float* k_row(int64_t entry) const {
    return static_cast<const float*>(kv.k) + entry * config.head_dim;
  }
  const float* v_row(int64_t entry) const {
    return static_cast<const float*>(kv.v) + entry * config.head_dim;
  }
};

/// All batch rows together, in tiles.
void attention_of_many(const AttentionProblem& problem);

/// Batch row i alone, over spans of rows.
void attention_of_one(const AttentionProblem& problem, int64_t i);

}  // namespace winnow::cpu
