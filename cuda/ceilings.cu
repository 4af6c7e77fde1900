// The rates that nothing on a GPU exceeds, measured in one block of memory.
//
//   read      every thread: kInFlight loads of 16 bytes, one grid apart, then their xor
//   copy      the lower half over the upper one, by the runtime's own copy
//   product   y = x W^T, x [8192, 4096], W [28672, 4096]: the largest of an 8B model's layer
//
//   pass p of a block   | thread 0: 16 B | thread 1: 16 B | ...     one load of a warp: 512 bytes
//
// 1024 threads of a multiprocessor with 8 loads each have 128 KiB under way: more than the 48 KiB
// or so that the memory's latency hides.
#include <algorithm>
#include <memory>
#include <vector>

#include "cuda/ceilings.h"
#include "cuda/check.h"
#include "cuda/random.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr uint64_t kMostBytes = uint64_t{8} << 30;
constexpr int kThreads = 512;
constexpr int kBlocksEach = 2;  // of a multiprocessor
constexpr int kInFlight = 8;
constexpr int kWarmUps = 3;
constexpr int kRepeats = 9;

constexpr int64_t kProductRows = 8192;
constexpr int64_t kOutputs = 28672;
constexpr int64_t kInputs = 4096;

__device__ inline uint32_t folded(const uint4& pack) {
  return pack.x ^ pack.y ^ pack.z ^ pack.w;
}

/// Reads from [n] once. What is found is written only if it is a number that never comes, which the
/// compiler cannot know.  out [1]
__global__ void __launch_bounds__(kThreads, kBlocksEach)
    ceilings_read_kernel(const uint4* from, uint64_t n, uint32_t* out) {
  const uint64_t step = uint64_t{gridDim.x} * kThreads;
  uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  uint32_t found = 0;
  for (; i + (kInFlight - 1) * step < n; i += kInFlight * step) {
    uint4 pack[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) pack[j] = __ldcs(from + i + j * step);
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) found ^= folded(pack[j]);
  }
  for (; i < n; i += step) found ^= folded(__ldcs(from + i));
  if (found == 0x5eed5eedU) *out = found;
}

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&event_), "make an event"); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "take the time"); }

  double seconds_since(const Event& begin) {
    check_cuda(cudaEventSynchronize(event_), "measure the ceilings");
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, begin.event_, event_), "take the time");
    return double{ms} * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// The median time of what `queue` puts on the stream.
template <class Queue>
double median_seconds(cudaStream_t stream, const Queue& queue) {
  Event begin, end;
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUps + kRepeats; ++i) {
    begin.record(stream);
    queue();
    end.record(stream);
    const double time = end.seconds_since(begin);
    if (i >= kWarmUps) seconds.push_back(time);
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRepeats / 2, seconds.end());
  return seconds[kRepeats / 2];
}

using Block = std::unique_ptr<std::byte, decltype(&cudaFree)>;

Block take_memory(uint64_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes), "take memory to measure the ceilings in");
  return {static_cast<std::byte*>(memory), &cudaFree};
}

uint64_t product_bytes(DType type) {
  return static_cast<uint64_t>(kOutputs * kInputs + kProductRows * (kInputs + kOutputs)) *
         dtype_size(type);
}

/// memory [product_bytes(type) + GemmLt::kWorkspaceBytes], filled with numbers of `type`
double product_tflops(std::byte* memory, DType type, GemmLt& gemm, cudaStream_t stream) {
  const uint64_t element = dtype_size(type);
  std::byte* const x = memory + GemmLt::kWorkspaceBytes;
  std::byte* const w = x + static_cast<uint64_t>(kProductRows * kInputs) * element;
  std::byte* const y = w + static_cast<uint64_t>(kOutputs * kInputs) * element;
  const Product product{
      .w = {.data = w, .type = type, .rows = kOutputs, .cols = kInputs},
      .x = x,
      .n = kProductRows,
      .y = y,
      .y_type = type,
  };
  const double seconds = median_seconds(stream, [&] {
    if (!gemm.multiply(product, memory, stream)) {
      fail(ExitCode::kDevice, "GPU: cuBLASLt has no product to measure the ceiling with");
    }
  });
  return 2.0 * double{kProductRows} * double{kOutputs} * double{kInputs} / seconds * 1e-12;
}

}  // namespace

Ceilings measure_ceilings(uint64_t free_bytes, DType type, const Gpu& gpu, GemmLt& gemm,
                          cudaStream_t stream) {
  constexpr uint64_t kUnit = uint64_t{2} << 20;
  const uint64_t least = product_bytes(type) + GemmLt::kWorkspaceBytes;
  const uint64_t bytes = std::max(std::min(free_bytes, kMostBytes), least) / kUnit * kUnit + kUnit;
  const Block block = take_memory(bytes);
  std::byte* const memory = block.get();
  fill_random(memory, type, bytes / dtype_size(type), 1, 1, stream);
  auto* const out = reinterpret_cast<uint32_t*>(memory);
  const auto blocks = static_cast<unsigned>(kBlocksEach * gpu.multiprocessors);
  const double read = median_seconds(stream, [&] {
    ceilings_read_kernel<<<blocks, kThreads, 0, stream>>>(reinterpret_cast<const uint4*>(memory),
                                                          bytes / sizeof(uint4), out);
    check_launch("read_stream");
  });
  const uint64_t half = bytes / 2;
  const double copy = median_seconds(stream, [&] {
    check_cuda(cudaMemcpyAsync(memory + half, memory, half, cudaMemcpyDeviceToDevice, stream),
               "measure a copy");
  });
  const auto size = static_cast<double>(bytes) * 1e-9;
  return {.read_gbps = size / read,
          .copy_gbps = size / copy,
          .gemm_tflops = product_tflops(memory, type, gemm, stream)};
}

}  // namespace winnow::cuda
