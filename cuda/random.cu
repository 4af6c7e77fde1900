// Random weights, for timing a network whose weights are not at hand.
//
//   u_i = mix(seed + (i + 1) * phi) / 2^63 - 1, in [-1, 1)
//   to[i] = sqrt(3) * scale * u_i
//
// mix is the finaliser of splitmix64, phi is 2^64 over the golden ratio. A counted generator needs
// no state: thread t makes elements t, t + threads, ... Bound by writing memory.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "cuda/check.h"
#include "cuda/random.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr uint64_t kMaxBlocks = 4096;

__device__ uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

/// to [n]; amplitude = sqrt(3) * scale
template <class T>
__global__ void fill_random_kernel(T* to, uint64_t n, uint64_t seed, float amplitude) {
  const uint64_t step = uint64_t{gridDim.x} * kThreads;
  for (uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) {
    const uint64_t bits = mix(seed + (i + 1) * 0x9E3779B97F4A7C15U);
    const float u = static_cast<float>(static_cast<int>(bits >> 40) - (1 << 23)) * 0x1p-23F;
    to[i] = static_cast<T>(amplitude * u);
  }
}

template <class T>
void launch(void* to, uint64_t n, uint64_t seed, float scale, cudaStream_t stream) {
  constexpr float kSqrt3 = 1.7320508F;
  const auto blocks = static_cast<unsigned>(std::min((n + kThreads - 1) / kThreads, kMaxBlocks));
  fill_random_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<T*>(to), n, seed, kSqrt3 * scale);
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
