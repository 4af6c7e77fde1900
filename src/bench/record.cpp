#include "src/bench/record.h"

#include <algorithm>

namespace winnow {

const char* bench_name(BenchKind kind) {
  switch (kind) {
    case BenchKind::kPrefill: return "prefill";
    case BenchKind::kDecode: return "decode";
    case BenchKind::kCompact: return "compact";
    case BenchKind::kKernel: return "kernel";
  }
  return "?";
}

double memory_floor(const Cost& cost, const Ceilings& ceilings) {
  const double copied = std::min(cost.read, cost.written);
  const double one_way = std::max(cost.read, cost.written) - copied;
  return 2 * copied / (ceilings.copy_gbps * 1e9) + one_way / (ceilings.read_gbps * 1e9);
}

double compute_floor(const Cost& cost, const Ceilings& ceilings) {
  return cost.flops / (ceilings.gemm_tflops * 1e12);
}

const char* BenchRecord::unit() const {
  switch (kind) {
    case BenchKind::kCompact: return "ms";
    case BenchKind::kKernel: return "us";
    default: return "tokens/s";
  }
}

double BenchRecord::median_seconds() const {
  const size_t half = seconds.size() / 2;
  return seconds.size() % 2 == 1 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2;
}

double BenchRecord::in_unit(double t) const {
  switch (kind) {
    case BenchKind::kCompact: return t * 1e3;
    case BenchKind::kKernel: return t * 1e6;
    default: return static_cast<double>(tokens) / t;
  }
}

double BenchRecord::gigabytes_per_second() const {
  return (cost.read + cost.written) / median_seconds() * 1e-9;
}

double BenchRecord::teraflops() const {
  return cost.flops / median_seconds() * 1e-12;
}

bool BenchRecord::bound_by_memory(const Ceilings& ceilings) const {
  return memory_floor(cost, ceilings) >= compute_floor(cost, ceilings);
}

double BenchRecord::share(const Ceilings& ceilings) const {
  const double t = median_seconds();
  switch (kind) {
    case BenchKind::kPrefill: return compute_floor(cost, ceilings) / t;
    case BenchKind::kDecode: return cost.read / (ceilings.read_gbps * 1e9) / t;
    case BenchKind::kCompact: return t / of_seconds;
    case BenchKind::kKernel:
      return std::max(memory_floor(cost, ceilings), compute_floor(cost, ceilings)) / t;
  }
  return 0;
}

}  // namespace winnow
