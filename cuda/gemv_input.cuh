// The row x of a fused product, in shared memory: the block's copy that all its warps read.
//
// A warp's lane needs 8 neighbouring columns of every piece of 256 at once. Columns behind the end
// of x, up to a whole piece, are zeros.
#pragma once

#include "cuda/gemv_fused.h"
#include "cuda/types.cuh"

namespace winnow::cuda {

constexpr int kLaneColumns = 8;               // that a lane takes at once: 16 bytes of T
constexpr int kPiece = kWarp * kLaneColumns;  // columns that a warp takes at once
constexpr int kBatch = 4;                     // loads that a thread starts before it uses the first

/// The two neighbouring numbers in a word.
template <class T>
__device__ inline float2 unpack(uint32_t word);
template <>
__device__ inline float2 unpack<__nv_bfloat16>(uint32_t word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000U)};  // fp32's upper half
}
template <>
__device__ inline float2 unpack<__half>(uint32_t word) {
  return __half22float2(*reinterpret_cast<const __half2*>(&word));
}

/// A row of T as it is.
///
///   piece c   | lane 0: columns 0..7 | lane 1: 8..15 | ... |     16 bytes each
template <class T>
class PlainInput {
 public:
  static constexpr size_t kColumnBytes = sizeof(T);

  __device__ explicit PlainInput(const void* x) : x_(static_cast<const uint4*>(x)) {}

  /// Before the wait.  shared: space for whole pieces
  __device__ void prepare(std::byte* shared, int cols) {
    staged_ = reinterpret_cast<uint4*>(shared);
    packs_ = cols / kLaneColumns;
    const int end = static_cast<int>(ceil_div(cols, kPiece)) * kWarp;
    for (int i = packs_ + static_cast<int>(threadIdx.x); i < end; i += blockDim.x) staged_[i] = {};
  }

  /// After the wait. Past the first-level cache, which may hold what was there before.
  __device__ void stage() const {
    const auto threads = static_cast<int>(blockDim.x);
    for (int i = static_cast<int>(threadIdx.x); i < packs_; i += kBatch * threads) {
      uint4 packs[kBatch];
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (i + u * threads < packs_) packs[u] = __ldcg(x_ + i + u * threads);
      }
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (i + u * threads < packs_) staged_[i + u * threads] = packs[u];
      }
    }
  }

  /// What finished sums are multiplied with.
  __device__ float scale() const {
    return 1;
  }

  /// This lane's columns of piece c.
  __device__ void load(int c, float (&x)[kLaneColumns]) const {
    const uint4 pack = staged_[c * kWarp + static_cast<int>(threadIdx.x) % kWarp];
    const uint32_t words[] = {pack.x, pack.y, pack.z, pack.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = unpack<T>(words[i]);
      x[2 * i] = pair.x;
      x[2 * i + 1] = pair.y;
    }
  }

 private:
  const uint4* x_;  // [packs_]
  uint4* staged_ = nullptr;
  int packs_ = 0;
};

/// rmsnorm(x) in fp32. What is staged is x * weight; the factor 1 / sqrt(mean(x^2) + eps) comes
/// after the sums, since W (s x) = s (W x): so x is read once.
///
///   piece c   | lane 0: columns 0..3 | lane 1: 8..11 | ... | lane 0: 4..7 | lane 1: 12..15 | ... |
///
/// Neighbouring lanes read neighbouring 16 bytes: no bank of the shared memory is asked twice.
class NormedInput {
 public:
  static constexpr size_t kColumnBytes = sizeof(float);

  __device__ explicit NormedInput(const NormedRow& row) : row_(row) {}

  /// Before the wait: the norm's weights.  shared: space for whole pieces, and a float for every
  /// warp
  __device__ void prepare(std::byte* shared, int cols) {
    staged_ = reinterpret_cast<float4*>(shared);
    cols_ = cols;
    const int quads = cols / 4;
    const int end = static_cast<int>(ceil_div(cols, kPiece)) * kPiece / 4;
    squares_ = reinterpret_cast<float*>(staged_ + end);
    const auto* weight = reinterpret_cast<const float4*>(row_.weight);
    for (int i = static_cast<int>(threadIdx.x); i < end; i += blockDim.x) {
      staged_[place(i)] = i < quads ? __ldg(weight + i) : float4{};
    }
  }

  /// After the wait: x, each thread where it put the weights. Past the first-level cache, which may
  /// hold what was there before.
  __device__ void stage() const {
    const auto threads = static_cast<int>(blockDim.x);
    const int quads = cols_ / 4;
    const auto* x = reinterpret_cast<const float4*>(row_.x);
    float squares = 0;
    for (int i = static_cast<int>(threadIdx.x); i < quads; i += kBatch * threads) {
      float4 in[kBatch];
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        in[u] = i + u * threads < quads ? __ldcg(x + i + u * threads) : float4{};
      }
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (i + u * threads < quads) take(staged_[place(i + u * threads)], in[u], squares);
      }
    }
    squares = lanes_sum(squares);
    if (threadIdx.x % kWarp == 0) squares_[threadIdx.x / kWarp] = squares;
  }

  /// What finished sums are multiplied with.
  __device__ float scale() const {
    float squares = 0;
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) {
      squares += squares_[warp];
    }
    return rsqrtf(squares / static_cast<float>(cols_) + row_.eps);
  }

  /// This lane's columns of piece c.
  __device__ void load(int c, float (&x)[kLaneColumns]) const {
    const float4* piece = staged_ + c * (kPiece / 4) + threadIdx.x % kWarp;
    const float4 low = piece[0];
    const float4 high = piece[kWarp];
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
  }

 private:
  /// Where quad i of x is staged, in the picture's order.
  __device__ static int place(int i) {
    constexpr int kQuads = kPiece / 4;
    return i / kQuads * kQuads + i % 2 * kWarp + i % kQuads / 2;
  }

  /// weight becomes weight * x
  __device__ static void take(float4& weight, const float4& x, float& squares) {
    squares = fmaf(x.x, x.x, squares);
    squares = fmaf(x.y, x.y, squares);
    squares = fmaf(x.z, x.z, squares);
    squares = fmaf(x.w, x.w, squares);
    weight = {weight.x * x.x, weight.y * x.y, weight.z * x.z, weight.w * x.w};
  }

  NormedRow row_;
  float4* staged_ = nullptr;
  float* squares_ = nullptr;  // [warps] their shares of x's sum of squares
  int cols_ = 0;
};

}  // namespace winnow::cuda
