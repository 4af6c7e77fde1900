// When the device itself was at work on what it was asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace winnow {

/// One kernel, or all that a step launched where single kernels are not seen.
struct KernelRun {
  std::string_view name;  // until the next call; empty for a whole step
  uint64_t step = 0;      // as begin_step named it; 0: outside of steps, or replayed
  int64_t start_ns = 0;   // of std::chrono::steady_clock
  int64_t end_ns = 0;
};

class DeviceProfiler {
 public:
  virtual ~DeviceProfiler() = default;

  /// "cupti": every kernel; "events": every step.
  virtual std::string_view name() const = 0;

  /// Why kernels are not seen, in one line; empty where they are.
  virtual std::string why_no_kernels() const { return {}; }

  /// What is launched until end_step() belongs to step `id`, which is not 0.
  virtual void begin_step(uint64_t id) = 0;
  virtual void end_step() = 0;

  /// Waits for the device, then hands over what ran since the last call, by start. Fails with
  /// kDevice.
  virtual void collect(const std::function<void(const KernelRun& run)>& take) = 0;
};

}  // namespace winnow
