// The network's weights, as the forward pass wants them. No logic.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/dtype.h"

namespace winnow {

/// A matrix in device memory, row-major, in the type it was stored in: y = W x.
struct Matrix {
  const void* data = nullptr;  // [rows, cols] type
  DType type = DType::kF32;
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs
};

/// Matrices that read the same input lie one below the other, so that one product computes all.
struct LayerWeights {
  const float* attention_norm = nullptr;  // [hidden_size] fp32
  Matrix qkv;                             // [(n_heads + 2 n_kv_heads) * head_dim, hidden_size]
  const float* qkv_bias = nullptr;        // [(n_heads + 2 n_kv_heads) * head_dim] fp32, or null
  const float* q_norm = nullptr;          // [head_dim] fp32, or null
  const float* k_norm = nullptr;          // [head_dim] fp32, or null
  Matrix o;                               // [hidden_size, n_heads * head_dim]
  const float* o_bias = nullptr;          // [hidden_size] fp32, or null
  const float* o_factor = nullptr;        // [n_heads, head_dim, head_dim] fp32: lower triangles R
                                          // with R R^T = W_O W_O^T of the head, or null
  const float* mlp_norm = nullptr;        // [hidden_size] fp32
  Matrix gate_up;                         // [2 * intermediate_size, hidden_size]
  Matrix down;                            // [hidden_size, intermediate_size]
};

struct ModelWeights {
  Matrix embedding;  // [vocab_size, hidden_size]
  std::vector<LayerWeights> layers;
  const float* final_norm = nullptr;  // [hidden_size] fp32
  Matrix lm_head;                     // [vocab_size, hidden_size]; the embedding where tied
};

}  // namespace winnow
