// Random weights, for timing a network whose weights are not at hand.
//
//   u_i = splitmix64(seed, i) / 2^63 - 1, in [-1, 1)
//   to[i] = sqrt(3) * scale * u_i
//
// A counted generator (src/base/splitmix.h) needs no state: thread t makes elements t, t + threads,
// ... Bound by writing memory.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "cuda/check.h"
#include "cuda/random.h"
#include "src/base/splitmix.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr uint64_t kMaxBlocks = 4096;

/// to [n]; amplitude = sqrt(3) * scale
template <class T>
__global__ void random_fill_kernel(T* to, uint64_t n, uint64_t seed, float amplitude) {
  const uint64_t step = uint64_t{gridDim.x} * kThreads;
  for (uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) {
    const uint64_t bits = splitmix64(seed, i);
    const float u = static_cast<float>(static_cast<int>(bits >> 40) - (1 << 23)) * 0x1p-23F;
    to[i] = static_cast<T>(amplitude * u);
  }
}

template <class T>
void launch(void* to, uint64_t n, uint64_t seed, float scale, cudaStream_t stream) {
  constexpr float kSqrt3 = 1.7320508F;
  const auto blocks = static_cast<unsigned>(std::min((n + kThreads - 1) / kThreads, kMaxBlocks));
  random_fill_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<T*>(to), n, seed, kSqrt3 * scale);
  check_launch("fill_random");
}

}  // namespace

void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale,
                 cudaStream_t stream) {
  if (n == 0) return;
  switch (type) {
    case DType::kF32: return launch<float>(to, n, seed, scale, stream);
    case DType::kF16: return launch<__half>(to, n, seed, scale, stream);
    case DType::kBF16: return launch<__nv_bfloat16>(to, n, seed, scale, stream);
  }
}

}  // namespace winnow::cuda
