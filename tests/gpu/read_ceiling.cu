// Every thread adds up 16-byte pieces of 4 GiB, kLoads of them under way at a time; the sums are
// written only if they come out as something they cannot be.
#include "cuda/gpu.h"
#include "cuda/random.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/read_ceiling.h"
#include "tests/gpu/timing.h"

namespace winnow::test {
namespace {

constexpr int kThreads = 512;
constexpr int kBlocksEach = 4;  // on a multiprocessor
constexpr int kLoads = 8;
constexpr uint64_t kBytes = uint64_t{4} << 30;

/// from [n]; n is a multiple of kLoads
__global__ void __launch_bounds__(kThreads)
    read_kernel(const uint4* from, uint64_t n, uint4* never) {
  const uint64_t step = uint64_t{gridDim.x} * kThreads * kLoads;
  uint4 sum = {};
  for (uint64_t i = uint64_t{blockIdx.x} * kThreads * kLoads + threadIdx.x; i < n; i += step) {
    uint4 pieces[kLoads];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const uint64_t at = i + uint64_t{kThreads} * u;
      pieces[u] = at < n ? __ldcs(from + at) : uint4{};
    }
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      sum.x ^= pieces[u].x, sum.y ^= pieces[u].y, sum.z ^= pieces[u].z, sum.w ^= pieces[u].w;
    }
  }
  if (sum.x == 1 && sum.y == 2 && sum.z == 3 && sum.w == 4) *never = sum;
}

}  // namespace

double read_ceiling_gbps() {
  const DeviceBuffer from(kBytes), never(sizeof(uint4));
  cuda::fill_random(from.data(), DType::kBF16, kBytes / 2, 1, 1, nullptr);
  const auto blocks = static_cast<unsigned>(kBlocksEach * cuda::current_gpu().multiprocessors);
  const double us = median_us([&] {
    read_kernel<<<blocks, kThreads>>>(from.as<uint4>(), kBytes / sizeof(uint4), never.as<uint4>());
  });
  cuda::check_launch("read");
  return static_cast<double>(kBytes) / us / 1e3;
}

}  // namespace winnow::test
