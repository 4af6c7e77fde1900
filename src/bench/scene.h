// What all measurements of a run share.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "src/bench/cost.h"
#include "src/bench/record.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"
#include "src/device.h"
#include "src/kv/settings.h"
#include "src/model.h"
#include "src/watch/watched_device.h"

namespace winnow {

/// Before the weights are loaded: what is asked for, of which network, on which device.
struct BenchRequest {
  const BenchOptions& options;
  const ModelFiles& files;
  const Device& device;
};

struct BenchScene {
  const BenchOptions& options;
  const Model& model;
  CostShape shape;
  WatchedDevice* watched = nullptr;  // the device, where its warm-ups are not to be heard

  const ModelConfig& config() const { return model.config; }
  Device& device() const { return *model.device; }
};

/// Takes a record as soon as it is there.
using AddRecord = std::function<void(const BenchRecord& record)>;

/// Memory that a run needs at most, and what to say where it is not there.
struct BenchMemory {
  MemoryPlan plan;
  RunShape largest;    // of what is measured
  int64_t tokens = 0;  // of the longest text

  /// Grows to what `other`, the plan of `run`, needs too.
  void include(const MemoryPlan& other, const RunShape& run);
};

inline void BenchMemory::include(const MemoryPlan& other, const RunShape& run) {
  if (plan.total() <= other.total()) largest = run;
  plan.cover(other);
}

/// What `method` keeps of a prompt of `n_prompt` tokens. One token is kept, whatever share is asked
/// for. Fails like resolve_kv.
inline KvSettings bench_settings(const KvOptions& method, const ModelConfig& config, DType type,
                                 int64_t n_prompt) {
  if (n_prompt <= 1) return {};
  return resolve_kv(method, config, type, n_prompt);
}

/// The budget as records name it.
inline std::optional<int64_t> budget_rows(const KvSettings& settings) {
  if (settings.budget == KvSettings::kNoBudget) return std::nullopt;
  return settings.budget;
}

/// The times that `run` returns in `repeats` calls, ascending. A signal stops between them.
template <class Run>
std::vector<double> sorted_seconds(int32_t repeats, const Run& run) {
  std::vector<double> seconds;
  for (int32_t i = 0; i < repeats; ++i) {
    check_interrupt();
    seconds.push_back(run());
  }
  std::ranges::sort(seconds);
  return seconds;
}

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace winnow
