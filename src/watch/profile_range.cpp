#include "src/watch/profile_range.h"

#include "cuda/profiling.h"
#include "src/base/error.h"

namespace winnow {

void ProfileRange::attach(Device& device, std::string_view /*timer*/) {
  device_ = &device;
  if (!device.driver().empty()) return;
  fail(ExitCode::kDevice, "--profile-range is for profilers of a GPU, and the device is ",
       device.name());
}

/// What was launched before does not belong to the range.
void ProfileRange::begin(const Span& span) {
  if (!concerns(span)) return;
  device_->synchronize();
  start_profiler();
}

void ProfileRange::end(const Span& span) {
  if (!concerns(span)) return;
  device_->synchronize();
  stop_profiler();
}

}  // namespace winnow
