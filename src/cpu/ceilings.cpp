#include "src/cpu/ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "src/base/error.h"
#include "src/cpu/tile.h"

namespace winnow::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBlock = int64_t{1} << 16;          // floats that a thread takes at a time
constexpr uint64_t kMostBytes = uint64_t{128} << 20;  // of each of two arrays
constexpr int kRepeats = 5;

/// The median of some runs, after one to warm up.
template <class Run>
double median_seconds(const Run& run) {
  std::vector<double> seconds;
  run();
  for (int i = 0; i < kRepeats; ++i) {
    const Clock::time_point start = Clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::ranges::nth_element(seconds, seconds.begin() + kRepeats / 2);
  return seconds[kRepeats / 2];
}

float sum_of(const float* block) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < kBlock; ++i) sum += block[i];
  return sum;
}

/// Seconds of one look at each number of `from` [blocks * kBlock].
double read_seconds(const float* from, int64_t blocks) {
  volatile float kept = 0;
  return median_seconds([&] {
    float sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int64_t b = 0; b < blocks; ++b) sum += sum_of(from + b * kBlock);
    kept = sum;  // or else nothing would be read
  });
}

double copy_seconds(const float* from, float* to, int64_t blocks) {
  return median_seconds([&] {
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; ++b) {
      std::memcpy(to + b * kBlock, from + b * kBlock, kBlock * sizeof(float));
    }
  });
}

/// TFLOP/s of the innermost block of a product, over operands that stay in the nearest cache.
double product_tflops() {
  constexpr int64_t kDepth = 256;
  constexpr int64_t kTiles = 20'000;
  const double seconds = median_seconds([&] {
#pragma omp parallel
    {
      std::vector<float> a(kTileRows * kDepth, 1.0F);
      std::vector<float> b(kDepth * kTileCols, 1.0F);
      std::vector<Columns> c(kTileRows);
#pragma omp for schedule(static)
      for (int64_t i = 0; i < kTiles; ++i) {
        multiply_rows(kTileRows, {a.data(), kDepth, 1}, b.data(), kTileCols, kDepth,
                      [&](int r, const Columns& sum) { c[static_cast<size_t>(r)] = sum; });
      }
    }
  });
  return 2.0 * kTileRows * kTileCols * kDepth * kTiles / seconds * 1e-12;
}

}  // namespace

Ceilings measure_ceilings(uint64_t free_bytes) {
  const uint64_t bytes = std::min(free_bytes / 16, kMostBytes);
  const auto blocks = std::max<int64_t>(static_cast<int64_t>(bytes / sizeof(float)) / kBlock, 1);
  const auto n = static_cast<size_t>(blocks * kBlock);
  try {
    const auto from = std::make_unique<float[]>(n);
    const auto to = std::make_unique<float[]>(n);
    const double size = static_cast<double>(n) * sizeof(float) * 1e-9;
    return {.read_gbps = size / read_seconds(from.get(), blocks),
            .copy_gbps = 2 * size / copy_seconds(from.get(), to.get(), blocks),
            .gemm_tflops = product_tflops()};
  } catch (const std::bad_alloc&) {
    fail(ExitCode::kMemory, "out of memory: ", 2 * n * sizeof(float),
         " bytes to measure the memory's speed with");
  }
}

}  // namespace winnow::cpu
