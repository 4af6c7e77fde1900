// One decode token's products, each in one launch with what stands before and behind it.
//
//   gemv_qkv       q, k, v = rope(rmsnorm(x) Wqkv^T + bias), k and v into their row of the cache
//   gemv_output    x += in W^T                           (the attention's output; the MLP's down)
//   gemv_gate_up   h = silu(rmsnorm(x) Wgate^T) * (rmsnorm(x) Wup^T)
//   gemv_logits    logits = rmsnorm(x) W^T
//
// T is bf16 or f16. The normed x is never rounded to T: it is staged and multiplied in fp32. All
// sums are fp32 in an order that depends on the width of W and the plan alone. Kernels are launched
// early (see early_start.cuh) and read weights, norms and biases before they wait: no kernel of the
// same stream may write those behind the last one that was launched plainly.
#pragma once

#include <cstddef>
#include <optional>

#include "cuda/kernels.h"

namespace winnow::cuda {

/// How a product is laid over the GPU; see the picture in gemv.cuh.
struct GemvPlan {
  int rows = 2;    // of W that a warp takes at a time: 1 or 2; gemv_qkv and gemv_gate_up: 2
  int depth = 24;  // 512-byte pieces of W that a warp has under way: 8, 10, 12, 16, 20 or 24
  int warps = 8;   // of a block, at most kMaxGemvWarps
  int blocks = 0;  // of the grid, if there is work for all

  friend bool operator==(const GemvPlan&, const GemvPlan&) = default;
};
constexpr int kMaxGemvWarps = 16;

/// What a product is fed with: an fp32 row that is normed first, or a row of T as it is.
enum class GemvInput { kNormed, kPlain };

/// Dynamic shared memory of a block, in bytes, for a W of `cols` columns.
size_t gemv_shared_bytes(int64_t cols, GemvInput input, const GemvPlan& plan);

/// The plan for `w`, or nothing where the plain kernels must do: types other than bf16 and f16,
/// rows of W that do not all start on a multiple of 16 bytes, rows too wide for shared memory.
std::optional<GemvPlan> plan_gemv(const Matrix& w, GemvInput input, const Gpu& gpu);

/// A row that is normed on its way in: x / sqrt(mean(x^2) + eps) * weight. Both on multiples of 16
/// bytes.
struct NormedRow {
  const float* x = nullptr;       // [cols] fp32
  const float* weight = nullptr;  // [cols] fp32
  float eps = 0;
};

/// The row is KV head h's row kv.row_of(h, 0), as in rope_and_store(). Not for rows whose
/// kv.places_in_cache(), nor for frequencies that are dynamic.
struct GemvQkvArgs {
  Matrix w;                           // [qkv_size, hidden_size] T
  const float* bias = nullptr;        // [qkv_size] fp32, or null
  NormedRow in;                       // [hidden_size]
  const int32_t* position = nullptr;  // [1]
  const int32_t* stopped = nullptr;   // [1] not 0: nothing is written; or null
  void* q = nullptr;                  // [n_heads, head_dim] T
  Heads heads;
  KvRows kv;
};
void gemv_qkv(const GemvQkvArgs& args, const RopeFrequencies& frequencies, const GemvPlan& plan,
              Stream stream);

/// w [rows, cols] T; in [cols] T, on a multiple of 16 bytes; x [rows] fp32
void gemv_output(const Matrix& w, const void* in, float* x, const GemvPlan& plan, Stream stream);

/// w [2 * size, cols] T: gate, then up; h [size] T
void gemv_gate_up(const Matrix& w, const NormedRow& in, void* h, const GemvPlan& plan,
                  Stream stream);

/// w [rows, cols] T; logits [rows] fp32; stopped as above
void gemv_logits(const Matrix& w, const NormedRow& in, const int32_t* stopped, float* logits,
                 const GemvPlan& plan, Stream stream);

}  // namespace winnow::cuda
