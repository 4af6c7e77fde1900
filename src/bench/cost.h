// What each step must move and compute at least, whatever kernel does it: the ruler that measured
// times are held against.
//
//   read, written   bytes that cross the memory's border at least once: weights, K/V rows,
//                   activations, scores. Positions and masks of attention, under 2 % of the rows
//                   that they belong to, and biases are left out
//   flops           a multiplication and an addition are two; norms, softmax and rope are left out
//
// A step over n rows of a prompt is declared as if it took them at once: weights are read once.
#pragma once

#include <cstdint>

#include "src/base/dtype.h"
#include "weights/config.h"

namespace winnow {

struct Cost {
  double read = 0;     // bytes
  double written = 0;  // bytes
  double flops = 0;

  Cost& operator+=(const Cost& other);
  friend Cost operator+(Cost a, const Cost& b) { return a += b; }
  friend Cost operator*(double n, const Cost& c) {
    return {n * c.read, n * c.written, n * c.flops};
  }
};

/// A network as far as costs depend on it.
struct CostShape {
  ModelConfig config;
  DType weights = DType::kF32;  // of matrices
  DType rows = DType::kF32;     // of q, k, v, attention and h: Device::compute_type()
};

// The steps of Device, for a batch of n rows.
Cost embed_cost(const CostShape& shape, int64_t n);
Cost qkv_cost(const CostShape& shape, int64_t n);
Cost attention_output_cost(const CostShape& shape, int64_t n);
Cost gate_up_cost(const CostShape& shape, int64_t n);
Cost down_cost(const CostShape& shape, int64_t n);
Cost logits_cost(const CostShape& shape, int64_t n);

/// Of one layer: batch row i of n sees the `older` rows that each KV head holds already, and rows
/// 0..i of the batch, of all these the last config.window where there is a window. `older` may be a
/// mean over heads.
Cost attention_cost(const CostShape& shape, int64_t n, double older);

/// Greedy: one look at every logit.
Cost sample_cost(const CostShape& shape);

// Winnowing, of one layer whose KV heads hold `rows` rows each.
Cost attention_scores_cost(const CostShape& shape, int64_t rows);
Cost random_scores_cost(const CostShape& shape, int64_t rows);
Cost combine_scores_cost(const CostShape& shape, int64_t rows);
/// `lists` lists of `zone` scores each.
Cost top_k_cost(int64_t lists, int64_t zone);
/// The same scores again; `kept` rows over all KV heads are listed.
Cost list_kept_cost(int64_t lists, int64_t zone, double kept);
Cost gather_rows_cost(const CostShape& shape, double kept);

/// All layers for one token over a cache whose KV heads hold `older` rows each, and its draw.
Cost token_cost(const CostShape& shape, double older);

/// All layers for a first prompt of n tokens, and the logits of the last one.
Cost prompt_cost(const CostShape& shape, int64_t n);

/// Bytes of weights that a token reads: each matrix once, of the embedding one row.
double token_weight_bytes(const CostShape& shape);

/// Bytes of one token's keys and values, over all layers and heads.
double token_kv_bytes(const CostShape& shape);

}  // namespace winnow
