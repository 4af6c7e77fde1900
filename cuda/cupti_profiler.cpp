// Kernels as CUPTI saw them.
//
//   host   | push id 7 | launch, correlation 41 | launch, 42 | pop |     step 7 is two kernels
//   CUPTI    records: {id 7, correlation 41} {id 7, 42}                  of the launches
//                     {kernel rope_kernel, correlation 41, start, end}   of what they came to
//
// A graph is one launch, and all its kernels have that correlation: they belong to no step.
#include "cuda/profilers.h"

#if !__has_include(<cupti.h>)

namespace winnow::cuda {

std::unique_ptr<DeviceProfiler> make_cupti_profiler(cudaStream_t /*stream*/, std::string& why_not) {
  why_not = "built without CUPTI's headers";
  return nullptr;
}

}  // namespace winnow::cuda

#else

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cuda/check.h"
#include "cuda/cupti.h"
#include "src/watch/kernel_name.h"

namespace winnow::cuda {
namespace {

constexpr size_t kBufferBytes = size_t{4} << 20;
constexpr size_t kBufferAlignment = 8;

// Newer layouts of the record begin as this one does.
using KernelRecord = CUpti_ActivityKernel9;

// Correlations are told for launches that are recorded themselves, hence the two APIs.
constexpr std::array kKinds = {CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION,
                               CUPTI_ACTIVITY_KIND_RUNTIME, CUPTI_ACTIVITY_KIND_DRIVER,
                               CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL};

/// What CUPTI has handed over, on threads of its own.
struct Inbox {
  struct Kernel {
    const char* name;  // CUPTI's own, for good
    uint32_t correlation;
    uint64_t start;
    uint64_t end;
  };

  std::mutex mutex;
  CuptiApi api;
  std::vector<Kernel> kernels;
  std::unordered_map<uint32_t, uint64_t> steps;  // by correlation

  void take(const CUpti_Activity& record) {
    if (record.kind == CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION) {
      const auto& link = reinterpret_cast<const CUpti_ActivityExternalCorrelation&>(record);
      steps[link.correlationId] = link.externalId;
    } else if (record.kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto& kernel = reinterpret_cast<const KernelRecord&>(record);
      kernels.push_back({kernel.name, kernel.correlationId, kernel.start, kernel.end});
    }
  }
};

/// The one place of its kind: CUPTI gives its callbacks no argument of ours.
Inbox& inbox() {
  static Inbox only;
  return only;
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(kBufferAlignment, kBufferBytes));
  *size = *buffer != nullptr ? kBufferBytes : 0;
  *most_records = 0;  // as many as fit
}

void CUPTIAPI take_buffer(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer,
                          size_t /*size*/, size_t used) {
  Inbox& in = inbox();
  const std::lock_guard lock(in.mutex);
  CUpti_Activity* record = nullptr;
  while (used > 0 && in.api.next_record(buffer, used, &record) == CUPTI_SUCCESS) in.take(*record);
  std::free(buffer);
}

int64_t steady_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

class CuptiProfiler final : public DeviceProfiler {
 public:
  CuptiProfiler(const CuptiApi& api, cudaStream_t stream) : api_(api), stream_(stream) {
    const int64_t before = steady_ns();
    uint64_t cupti = 0;
    (void)api_.timestamp(&cupti);
    const int64_t behind = steady_ns();
    to_steady_ns_ = before + (behind - before) / 2 - static_cast<int64_t>(cupti);
  }

  ~CuptiProfiler() override {
    for (const CUpti_ActivityKind kind : kKinds) (void)api_.disable(kind);
    (void)api_.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    const std::lock_guard lock(inbox().mutex);
    inbox().kernels.clear();
    inbox().steps.clear();
  }

  /// The kinds that are on already stay so where one fails; the destructor turns them off.
  CUptiResult start() {
    CUptiResult result = api_.register_callbacks(give_buffer, take_buffer);
    for (const CUpti_ActivityKind kind : kKinds) {
      if (result == CUPTI_SUCCESS) result = api_.enable(kind);
    }
    return result;
  }

  std::string_view name() const override { return "cupti"; }

  void begin_step(uint64_t id) override {
    check(api_.push_id(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, id));
  }

  void end_step() override { check(api_.pop_id(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, nullptr)); }

  void collect(const std::function<void(const KernelRun& run)>& take) override {
    check_cuda(cudaStreamSynchronize(stream_), "wait for the GPU");
    check(api_.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED));
    Inbox& in = inbox();
    std::vector<Inbox::Kernel> kernels;
    std::unordered_map<uint32_t, uint64_t> steps;
    {
      const std::lock_guard lock(in.mutex);
      kernels.swap(in.kernels);
      steps.swap(in.steps);
    }
    std::ranges::sort(kernels, {}, &Inbox::Kernel::start);
    for (const Inbox::Kernel& kernel : kernels) {
      const auto step = steps.find(kernel.correlation);
      take({.name = name_of(kernel.name),
            .step = step == steps.end() ? 0 : step->second,
            .start_ns = static_cast<int64_t>(kernel.start) + to_steady_ns_,
            .end_ns = static_cast<int64_t>(kernel.end) + to_steady_ns_});
    }
  }

 private:
  void check(CUptiResult result) const {
    if (result != CUPTI_SUCCESS) fail(ExitCode::kDevice, "GPU: ", api_.describe(result));
  }

  const std::string& name_of(const char* linker_name) {
    const auto [entry, is_new] = names_.try_emplace(linker_name);
    if (is_new) entry->second = short_kernel_name(linker_name);
    return entry->second;
  }

  CuptiApi api_;
  cudaStream_t stream_;
  int64_t to_steady_ns_ = 0;
  std::map<const void*, std::string> names_;
};

}  // namespace

std::unique_ptr<DeviceProfiler> make_cupti_profiler(cudaStream_t stream, std::string& why_not) {
  CuptiApi api;
  if (!load_cupti(api, why_not)) return nullptr;
  {
    const std::lock_guard lock(inbox().mutex);
    inbox().api = api;
  }
  auto profiler = std::make_unique<CuptiProfiler>(api, stream);
  const CUptiResult result = profiler->start();
  if (result == CUPTI_SUCCESS) return profiler;
  why_not = api.describe(result);  // another profiler is at work, most of the time
  return nullptr;
}

}  // namespace winnow::cuda

#endif
