// y = x / sqrt(mean(x^2) + eps) * weight, row by row.
//
// One block a row: its threads add up the squares, then scale what they read again, which by then
// lies in the cache. Bound by memory (many rows) or by the latency of two passes (one row).
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 512;

/// x, y [n, size]; weight [size]
template <class T>
__global__ void rmsnorm_kernel(const float* x, const float* weight, float eps, int64_t size, T* y) {
  const float* row = x + blockIdx.x * size;
  float squares = 0;
#pragma unroll 8
  for (int64_t j = threadIdx.x; j < size; j += kThreads) squares += row[j] * row[j];
  const float mean = block_sum<kThreads>(squares) / static_cast<float>(size);
  const float scale = 1.0F / sqrtf(mean + eps);
#pragma unroll 8
  for (int64_t j = threadIdx.x; j < size; j += kThreads) {
    y[blockIdx.x * size + j] = from_float<T>(weight[j] * (row[j] * scale));
  }
}

}  // namespace

void rmsnorm(const float* x, const float* weight, float eps, int64_t n, int64_t size, void* y,
             DType type, Stream stream) {
  with_type(type, [&]<class T>(const T*) {
    rmsnorm_kernel<<<grid_size(n), kThreads, 0, stream>>>(x, weight, eps, size, static_cast<T*>(y));
  });
  check_launch("rmsnorm");
}

}  // namespace winnow::cuda
