// Tells profilers of CUDA where to look: cudaProfilerStart and cudaProfilerStop around a phase.
// They do so where they were asked to: nsys --capture-range=cudaProfilerApi, ncu
// --profile-from-start off.
#pragma once

#include "src/watch/observer.h"

namespace winnow {

class ProfileRange final : public Observer {
 public:
  explicit ProfileRange(Phase phase) : phase_(phase) {}

  /// Fails with kDevice where the device is no GPU.
  void attach(Device& device, std::string_view timer) override;
  void begin(const Span& span) override;
  void end(const Span& span) override;

 private:
  bool concerns(const Span& span) const {
    return span.kind == SpanKind::kPhase && span.phase == phase_;
  }

  Phase phase_;
  Device* device_ = nullptr;
};

}  // namespace winnow
