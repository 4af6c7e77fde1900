// One measurement: what was timed, how long it took, and which share of the hardware that is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/bench/cost.h"
#include "src/device.h"

namespace winnow {

enum class BenchKind {
  kPrefill,  // share: FLOPs of the prompt, of what a matrix product reaches
  kDecode,   // share: bytes that the tokens read, of what a stream that is only read reaches
  kCompact,  // share: of the prefill that it was part of
  kKernel,   // share: the greater of the two, what is written counted at the copy's rate
};

/// "prefill", "decode", "compact", "kernel".
const char* bench_name(BenchKind kind);

struct BenchRecord {
  BenchKind kind = BenchKind::kPrefill;
  std::string name;    // of the kernel; else that of the kind
  int64_t tokens = 0;  // that were read or drawn; for a kernel rows of the batch, of one layer
  int64_t depth = 0;   // tokens that were there before
  std::string policy;
  std::optional<int64_t> budget;  // rows of a KV head that are kept at most
  std::vector<double> seconds;    // of each repeat, for a kernel of one call; ascending
  Cost cost;                      // in so many seconds
  double of_seconds = 0;          // kCompact: the median time of the prefill
  double older = 0;               // kDecode: rows that a token finds in a KV head, on average

  /// "tokens/s", "ms", "us".
  const char* unit() const;

  double median_seconds() const;

  /// The median in unit().
  double value() const { return in_unit(median_seconds()); }
  double in_unit(double t) const;

  double gigabytes_per_second() const;  // read and written
  double teraflops() const;

  /// Whether the ceiling that is nearer is that of memory.
  bool bound_by_memory(const Ceilings& ceilings) const;

  double share(const Ceilings& ceilings) const;
};

/// Seconds that the bytes of `cost` take at least: what is read and written as often moves at the
/// rate of a copy, the rest at that of reading.
double memory_floor(const Cost& cost, const Ceilings& ceilings);

/// Seconds that its FLOPs take at least.
double compute_floor(const Cost& cost, const Ceilings& ceilings);

}  // namespace winnow
