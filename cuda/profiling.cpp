#include "cuda/profiling.h"

#include <cuda_profiler_api.h>
#include <nvtx3/nvToolsExt.h>

#include <array>
#include <string>

#include "cuda/check.h"

namespace winnow {
namespace {

/// A domain for each phase, and the names of all spans in it, registered once.
class NvtxDomain {
 public:
  explicit NvtxDomain(Phase phase)
      : domain_(nvtxDomainCreateA((std::string("winnow.") + phase_name(phase)).c_str())) {
    for (size_t i = 0; i < steps_.size(); ++i) steps_[i] = named(kStepNames[i]);
    for (size_t i = 0; i < phases_.size(); ++i) phases_[i] = named(kPhaseNames[i]);
    token_ = named("token");
    layer_ = named("layer");
  }
  ~NvtxDomain() { nvtxDomainDestroy(domain_); }
  NvtxDomain(const NvtxDomain&) = delete;
  NvtxDomain& operator=(const NvtxDomain&) = delete;

  void push(const Span& span) const {
    nvtxEventAttributes_t range = {};
    range.version = NVTX_VERSION;
    range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    range.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    range.message.registered = name_of(span);
    if (span.number >= 0) {
      range.payloadType = NVTX_PAYLOAD_TYPE_INT64;
      range.payload.llValue = span.number;
    }
    nvtxDomainRangePushEx(domain_, &range);
  }

  void pop() const { nvtxDomainRangePop(domain_); }

 private:
  nvtxStringHandle_t named(const char* name) const {
    return nvtxDomainRegisterStringA(domain_, name);
  }

  nvtxStringHandle_t name_of(const Span& span) const {
    switch (span.kind) {
      case SpanKind::kPhase: return phases_[static_cast<size_t>(span.phase)];
      case SpanKind::kToken: return token_;
      case SpanKind::kLayer: return layer_;
      case SpanKind::kStep: return steps_[static_cast<size_t>(span.step->kind)];
    }
    return nullptr;
  }

  nvtxDomainHandle_t domain_;
  std::array<nvtxStringHandle_t, kStepNames.size()> steps_{};
  std::array<nvtxStringHandle_t, kPhaseNames.size()> phases_{};
  nvtxStringHandle_t token_{};
  nvtxStringHandle_t layer_{};
};

class NvtxRanges final : public Observer {
 public:
  void begin(const Span& span) override { domain(span).push(span); }
  void end(const Span& span) override { domain(span).pop(); }

 private:
  const NvtxDomain& domain(const Span& span) const {
    return domains_[static_cast<size_t>(span.phase)];
  }

  std::array<NvtxDomain, kPhaseNames.size()> domains_{
      NvtxDomain(Phase::kLoad), NvtxDomain(Phase::kPrefill), NvtxDomain(Phase::kCompact),
      NvtxDomain(Phase::kDecode)};
};

}  // namespace

std::shared_ptr<Observer> make_nvtx_ranges() {
  return std::make_shared<NvtxRanges>();
}

void start_profiler() {
  cuda::check_cuda(cudaProfilerStart(), "start the profiler");
}

void stop_profiler() {
  cuda::check_cuda(cudaProfilerStop(), "stop the profiler");
}

}  // namespace winnow
