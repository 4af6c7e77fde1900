// The small operations of a Llama, one function each, named like the formula.
#pragma once

#include <cstdint>

#include "src/device.h"
#include "src/rope.h"
#include "weights/config.h"

namespace winnow::cpu {

/// to[i] = scale * sqrt(3) * u, u in [-1, 1) from the upper 24 bits of splitmix64's number i for
/// `seed`.  to [n] type
void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale);

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row.  x, y [n, size]; weight [size]; all fp32
void rmsnorm(const float* x, const float* weight, float eps, int64_t n, int64_t size, float* y);

/// Turns pair i of each head by the angle position * frequency[i]. Pairs are half a head apart,
/// (x[i], x[i + head_dim/2]), as Hugging Face's checkpoints are laid out:
///   y[i]       = x[i] cos - x[i + d/2] sin
///   y[i + d/2] = x[i + d/2] cos + x[i] sin
/// x, y [n_heads, head_dim] fp32, may be the same; cos_sin [head_dim] from rope_angles
void rope(const float* x, const float* cos_sin, int64_t n_heads, int64_t head_dim, float* y);

/// The cosines (first half) and sines (second half) for one position, times frequencies.scale.
/// cos_sin [head_dim]
void rope_angles(int32_t position, const RopeFrequencies& frequencies, int64_t head_dim,
                 float* cos_sin);

/// Rotates q and k of batch row i to its place in the text, or in each KV head's cache, and makes k
/// and v the head's row.  qkv [qkv_size] fp32; q [n, n_heads, head_dim] fp32
void rotate_and_store(const ModelConfig& config, const Batch& batch, int64_t i,
                      const RopeFrequencies& frequencies, const float* qkv, float* q,
                      const KvRows& kv);

/// x += bias, row by row.  x [n, size]; bias [size]
void add_bias(const float* bias, int64_t n, int64_t size, float* x);

/// h = silu(gate) * up, silu(z) = z / (1 + e^-z).  gate_up [n, 2 * size]: gate, then up; h [n,
/// size]
void swiglu(const float* gate_up, int64_t n, int64_t size, float* h);

/// x = table[token] as fp32.  table [vocab_size, hidden_size]
void embed(const Matrix& table, const Batch& batch);

/// out = softmax(q k^T / sqrt(head_dim)) v, see Device::attention.
/// q, out [n, n_heads, head_dim] fp32; lse [n_heads, n] or null
void attention(const ModelConfig& config, int64_t n, const float* q, const KvRows& kv, float* out,
               float* lse = nullptr);

}  // namespace winnow::cpu
