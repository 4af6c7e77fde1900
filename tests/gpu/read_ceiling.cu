// Two blocks of 512 threads a multiprocessor go over the bytes together, each thread with 8 loads
// of 16 bytes on their way. Launched early, as decode's kernels are.
#include "cuda/early_start.cuh"
#include "cuda/gpu.h"
#include "cuda/random.h"
#include "cuda/types.cuh"
#include "tests/gpu/buffers.h"
#include "tests/gpu/read_ceiling.h"
#include "tests/gpu/timing.h"

namespace winnow::test {
namespace {

constexpr int kThreads = 512;
constexpr int kLoads = 8;

__device__ uint4 load16(const uint4* from) {
  uint4 r;
  asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
               : "l"(from));
  return r;
}

/// from [n]
__global__ void __launch_bounds__(kThreads)
    read_kernel(const uint4* from, int64_t n, uint32_t* sink) {
  cuda::wait_for_previous();
  cuda::let_next_begin();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  uint32_t seen = 0;
  for (int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x; at < n; at += kLoads * step) {
    uint4 loaded[kLoads];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) loaded[u] = load16(from + min(at + u * step, n - 1));
#pragma unroll
    for (const uint4& r : loaded) seen |= r.x & r.y & r.z & r.w;
  }
  if (seen == 0xffffffffU) *sink = seen;  // never, but the compiler does not know
}

}  // namespace

void read_once(const void* from, uint64_t bytes, uint32_t* sink, int multiprocessors,
               cudaStream_t stream) {
  cuda::launch_early({.grid = dim3(cuda::grid_size(2 * multiprocessors)),
                      .block = dim3(kThreads),
                      .stream = stream},
                     "read_once", read_kernel, static_cast<const uint4*>(from),
                     static_cast<int64_t>(bytes / sizeof(uint4)), sink);
}

double read_ceiling_gbps() {
  constexpr uint64_t kBytes = uint64_t{4} << 30;
  const DeviceBuffer from(kBytes), sink(sizeof(uint32_t));
  cuda::fill_random(from.data(), DType::kBF16, kBytes / 2, 1, 1, nullptr);
  const int multiprocessors = cuda::current_gpu().multiprocessors;
  const double us = median_us(
      [&] { read_once(from.data(), kBytes, sink.as<uint32_t>(), multiprocessors, nullptr); });
  return static_cast<double>(kBytes) / us / 1e3;
}

}  // namespace winnow::test
