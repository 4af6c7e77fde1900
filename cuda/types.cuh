// What all kernels share: the number types, packs of neighbouring elements, sums over a warp and a
// block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#include "src/base/dtype.h"

namespace winnow::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

/// Calls `body` with a null pointer of the CUDA type of `type`: float, __half or __nv_bfloat16.
template <class Body>
void with_type(DType type, Body&& body) {
  switch (type) {
    case DType::kF32: return body(static_cast<const float*>(nullptr));
    case DType::kF16: return body(static_cast<const __half*>(nullptr));
    case DType::kBF16: return body(static_cast<const __nv_bfloat16*>(nullptr));
  }
}

/// The same for a wider or equal type: T, or float where `wide` says so.
template <class T, class Body>
void with_wide_type(DType wide, Body&& body) {
  if (wide == DType::kF32) return body(static_cast<const float*>(nullptr));
  return body(static_cast<const T*>(nullptr));
}

__device__ inline float to_float(float value) {
  return value;
}
__device__ inline float to_float(__half value) {
  return __half2float(value);
}
__device__ inline float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

/// Rounds to nearest, ties to even.
template <class T>
__device__ inline T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline __half from_float<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

/// N neighbouring elements, moved in steps of up to 16 bytes.
template <class T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T value[N];
};

/// Elements of T that 16 bytes hold.
template <class T>
constexpr int kPack16 = 16 / static_cast<int>(sizeof(T));

template <int N, class T>
__device__ inline Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <int N, class T>
__device__ inline void store_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

/// Whether a pack of 16 bytes may be moved to or from `pointer`.
inline bool aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// For grid dimensions, which CUDA limits to less than 2^31.
inline unsigned grid_size(int64_t blocks) {
  return static_cast<unsigned>(blocks);
}

/// Blocks that take `each` of `items` apiece; one at least, as CUDA wants it.
inline unsigned blocks_for(int64_t items, int64_t each) {
  return grid_size(items > 0 ? ceil_div(items, each) : 1);
}

/// The sum over `kLanes` neighbouring lanes (a power of two), in every lane, in a fixed order.
template <int kLanes = kWarp>
__device__ inline float lanes_sum(float value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

/// The greatest of a warp's values, in every lane.
__device__ inline float warp_max(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  return value;
}

/// The sum over a block of kThreads threads, in every thread, in a fixed order. To be called by
/// all, and once in a kernel.
template <int kThreads>
__device__ inline float block_sum(float value) {
  __shared__ float warp_sums[kThreads / kWarp];
  value = lanes_sum(value);
  if (threadIdx.x % kWarp == 0) warp_sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  float sum = 0;
  for (const float warp : warp_sums) sum += warp;
  return sum;
}

}  // namespace winnow::cuda
