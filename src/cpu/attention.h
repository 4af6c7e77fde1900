// What the two ways to compute attention share; attention() in ops.h chooses between them.
#pragma once

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
  float* out;   // [n, n_heads, head_dim]
  float scale;  // 1 / sqrt(head_dim)

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
