// How the blocks of the fast decode attention bring the softmaxes of their shares together.
//
//   block of share 0   publish -> | slot 0 |
//   block of share 1   publish -> | slot 1 |    await: the last block of the head adds them in
//   ...                                         order, and makes the slots empty again
//
// All words of a slot are kEmpty between launches; one that is not has arrived. Neither counters
// nor fences are needed, since every word speaks for itself.
#pragma once

#include "cuda/attention_decode_tile.cuh"

namespace winnow::cuda {

constexpr int kVector = 4;         // neighbouring outputs that a thread merges
constexpr int kSharesAtOnce = 16;  // that a merge waits for at a time
constexpr uint32_t kEmpty = 0xffffffffU;
constexpr uint32_t kNan = 0x7fffffffU;

/// Some outputs of one query head over some rows, not yet divided by the sum.
struct Piece {
  float max = kUnseen;
  float sum = 0;
  float out[kVector] = {};
};

/// Adds pieces of the same outputs over other rows, in their order.
template <int N>
__device__ inline void add(Piece& to, const Piece (&pieces)[N]) {
  float max = to.max;
#pragma unroll
  for (const Piece& piece : pieces) max = fmaxf(max, piece.max);
  const float rescale = exp2f(to.max - base_of(max));
  to.max = max;
  to.sum *= rescale;
#pragma unroll
  for (float& out : to.out) out *= rescale;
#pragma unroll
  for (const Piece& piece : pieces) {
    const float weight = exp2f(piece.max - base_of(max));
    to.sum = fmaf(piece.sum, weight, to.sum);
#pragma unroll
    for (int d = 0; d < kVector; ++d) to.out[d] = fmaf(piece.out[d], weight, to.out[d]);
  }
}

/// Where blocks leave their shares' softmaxes: a slot for each block, all words kEmpty between
/// launches.
///   out [slots, kHeadsAtOnce, kHeadDim]   softmax [slots, kHeadsAtOnce]: max, sum
template <int kHeadDim>
struct Exchange {
  float* out;
  float2* softmax;

  __device__ float* out_at(int64_t slot, int head, int d) const {
    return out + (slot * kHeadsAtOnce + head) * kHeadDim + d;
  }
  __device__ float2* softmax_at(int64_t slot, int head) const {
    return softmax + slot * kHeadsAtOnce + head;
  }
};

/// The same number, but for a NaN that would be kEmpty.
__device__ inline float full(float value) {
  return __float_as_uint(value) == kEmpty ? __uint_as_float(kNan) : value;
}

__device__ inline void store4(float* to, const float (&value)[4]) {
  asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(value[0]),
               "f"(value[1]), "f"(value[2]), "f"(value[3])
               : "memory");
}
__device__ inline void store2(float2* to, float2 value) {
  asm volatile("st.relaxed.gpu.global.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(value.x), "f"(value.y)
               : "memory");
}

/// Leaves outputs d .. d + 3 of a head in a slot.
template <int kHeadDim>
__device__ void publish(const Exchange<kHeadDim>& exchange, int64_t slot, int head, int d,
                        const Piece& piece) {
  const float out[4] = {full(piece.out[0]), full(piece.out[1]), full(piece.out[2]),
                        full(piece.out[3])};
  store4(exchange.out_at(slot, head, d), out);
  if (d == 0) store2(exchange.softmax_at(slot, head), {full(piece.max), full(piece.sum)});
}

template <int kHeadDim>
__device__ Piece look(const Exchange<kHeadDim>& exchange, int64_t slot, int head, int d) {
  Piece piece;
  asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(piece.out[0]), "=f"(piece.out[1]), "=f"(piece.out[2]), "=f"(piece.out[3])
               : "l"(exchange.out_at(slot, head, d))
               : "memory");
  asm volatile("ld.relaxed.gpu.global.v2.f32 {%0, %1}, [%2];"
               : "=f"(piece.max), "=f"(piece.sum)
               : "l"(exchange.softmax_at(slot, head))
               : "memory");
  return piece;
}

__device__ inline bool is_complete(const Piece& piece) {
  bool complete = __float_as_uint(piece.max) != kEmpty && __float_as_uint(piece.sum) != kEmpty;
#pragma unroll
  for (const float out : piece.out) complete = complete && __float_as_uint(out) != kEmpty;
  return complete;
}

/// Waits for outputs d .. d + 3 of a head in n slots, and merges them.
template <int kHeadDim>
__device__ Piece await(const Exchange<kHeadDim>& exchange, int64_t slot, int n, int head, int d) {
  Piece total;
  for (int first = 0; first < n; first += kSharesAtOnce) {
    Piece pieces[kSharesAtOnce];
#pragma unroll
    for (int u = 0; u < kSharesAtOnce; ++u) {
      if (first + u < n) pieces[u] = look(exchange, slot + first + u, head, d);
    }
#pragma unroll
    for (int u = 0; u < kSharesAtOnce; ++u) {
      while (!is_complete(pieces[u])) pieces[u] = look(exchange, slot + first + u, head, d);
    }
    add(total, pieces);
  }
  return total;
}

/// Makes the same places kEmpty again. Max and sum are read by all threads of a head, which are of
/// one warp: `readers` are those of this warp.
template <int kHeadDim>
__device__ void clear(const Exchange<kHeadDim>& exchange, int64_t slot, int n, int head, int d,
                      unsigned readers) {
  const float empty = __uint_as_float(kEmpty);
  __syncwarp(readers);
  for (int s = 0; s < n; ++s) {
    store4(exchange.out_at(slot + s, head, d), {empty, empty, empty, empty});
    if (d == 0) store2(exchange.softmax_at(slot + s, head), {empty, empty});
  }
}

}  // namespace winnow::cuda
