// What the attention kernels share: where a query and its rows lie, how a row is read.
//
// Scores are kept in base 2: score = (q k) * scale with scale = log2(e) / sqrt(head_dim), so that
// the softmax's e^x is 2^score. A running softmax of one query is
//
//   max   the greatest score so far     sum   of 2^(score - max)     out   of 2^(score - max) * v
//
// and a new score s changes it so:  max' = max(max, s), sum' = sum * 2^(max - max') + 2^(s - max').
// Rows that a query does not see have score -infinity and weight 0; while no row was seen, max is
// -infinity and the differences are taken from 0, so that no NaN arises.
#pragma once

#include <cmath>
#include <limits>

#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

/// AttentionArgs for kernels.
template <class T>
struct Attention {
  const T* q;  // [n, n_heads, head_dim]
  T* out;      // [n, n_heads, head_dim]
  float* lse;  // [n_heads, n] or null
  const T* k;  // [entries, head_dim] of kv
  const T* v;  // [entries, head_dim] of kv
  KvRows kv;
  int64_t n;
  int n_heads;
  int group;
  int head_dim;
  float scale;
  bool packs;  // heads of q, k and v are whole packs of 8 elements and start on multiples of 16

  /// Where query head g of KV head h's group starts, for batch row i, in q and out.
  __device__ int64_t query_offset(int h, int64_t i, int g) const {
    return (i * n_heads + h * group + g) * head_dim;
  }

  /// Stores the log-sum-exp of a query, from its running softmax, where it is asked for.
  __device__ void store_lse(int h, int64_t i, int g, float max, float sum) const {
    if (lse != nullptr) lse[int64_t{h * group + g} * n + i] = max + log2f(sum);
  }
};

inline float attention_scale(int64_t head_dim) {
  return 1.44269504F / std::sqrt(static_cast<float>(head_dim));
}

template <class T>
Attention<T> attention_of(const AttentionArgs& args) {
  const KvRows& kv = args.kv;
  const bool whole = args.heads.head_dim % 8 == 0;
  return {.q = static_cast<const T*>(args.q),
          .out = static_cast<T*>(args.out),
          .lse = args.lse,
          .k = static_cast<const T*>(kv.k),
          .v = static_cast<const T*>(kv.v),
          .kv = kv,
          .n = args.n,
          .n_heads = static_cast<int>(args.heads.n_heads),
          .group = static_cast<int>(args.heads.group()),
          .head_dim = static_cast<int>(args.heads.head_dim),
          .scale = attention_scale(args.heads.head_dim),
          .packs = whole && aligned16(args.q) && aligned16(kv.k) && aligned16(kv.v)};
}

/// The place in the text of a row, for windows; 0, where every window begins, if there are none.
__device__ inline int place_of(const KvRows& kv, int64_t entry) {
  return kv.window == 0 && kv.head_window == nullptr ? 0 : kv.position[entry];
}

/// Where a query's windows begin: the model's, and that of a head that streams.
struct Starts {
  int window;
  int stream;

  __device__ bool show(const KvRows& kv, int place) const {
    return place >= window && (place >= stream || place < kv.sink);
  }
};

__device__ inline Starts starts_of(const KvRows& kv, int h, int64_t i) {
  return {kv.window_start(h, i), kv.stream_start(h, i)};
}

/// What differences from the greatest score are taken from.
__device__ inline float base_of(float max) {
  return max == kUnseen ? 0.0F : max;
}

/// A lane's part of a row as floats: elements [first, first + N).  row [head_dim]
/// What lies past the head is 0, or, where whole packs are loaded, anything that is finite: it
/// meets zeros of q, and its outputs are not used.
template <bool kPacks, int N, class T>
__device__ void load_floats(const T* row, int first, int head_dim, float (&to)[N]) {
  if constexpr (kPacks) {
    const Pack<T, N> pack = load_pack<N>(row + (first < head_dim ? first : 0));
#pragma unroll
    for (int d = 0; d < N; ++d) to[d] = to_float(pack.value[d]);
  } else {
#pragma unroll
    for (int d = 0; d < N; ++d) to[d] = first + d < head_dim ? to_float(row[first + d]) : 0.0F;
  }
}

template <int N>
__device__ float dot(const float (&a)[N], const float (&b)[N]) {
  float sum = 0;
#pragma unroll
  for (int d = 0; d < N; ++d) sum = fmaf(a[d], b[d], sum);
  return sum;
}

/// attention_decode() with 16-bit types and heads of 64 or 128, on tensor cores. False where it
/// does not apply and nothing was launched.
bool attention_decode_mma(const AttentionArgs& args, Stream stream);

}  // namespace winnow::cuda
