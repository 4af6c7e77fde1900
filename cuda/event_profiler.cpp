#include <algorithm>
#include <chrono>
#include <type_traits>
#include <vector>

#include "cuda/check.h"
#include "cuda/profilers.h"

namespace winnow::cuda {
namespace {

constexpr size_t kMostEvents = 8192;  // steps that wait to be read

using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, decltype(&cudaEventDestroy)>;

Event make_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreate(&event), "make an event");
  return {event, &cudaEventDestroy};
}

int64_t steady_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

/// Events know the time between two of them alone: one whose time the host knows comes first.
///
///   stream   | zero | before, step 1, behind | before, step 2, behind | ... | zero | ...
class EventProfiler final : public DeviceProfiler {
 public:
  EventProfiler(cudaStream_t stream, std::string why_no_kernels)
      : stream_(stream), why_no_kernels_(std::move(why_no_kernels)), zero_(make_event()) {
    set_zero();
  }

  std::string_view name() const override { return "events"; }
  std::string why_no_kernels() const override { return why_no_kernels_; }

  void begin_step(uint64_t id) override {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(stream_, &capture), "ask for a capture");
    open_ = capture == cudaStreamCaptureStatusNone;
    if (!open_) return;
    if (n_steps_ == kMostEvents) read_all();
    if (n_steps_ == steps_.size()) steps_.push_back({make_event(), make_event(), 0});
    steps_[n_steps_].id = id;
    record(steps_[n_steps_].before);
  }

  void end_step() override {
    if (open_) record(steps_[n_steps_++].behind);
    open_ = false;
  }

  void collect(const std::function<void(const KernelRun& run)>& take) override {
    read_all();
    for (const KernelRun& run : runs_) take(run);
    runs_.clear();
  }

 private:
  struct Step {
    Event before;
    Event behind;
    uint64_t id = 0;
  };

  void record(const Event& event) {
    check_cuda(cudaEventRecord(event.get(), stream_), "record an event");
  }

  void set_zero() {
    record(zero_);
    check_cuda(cudaEventSynchronize(zero_.get()), "wait for an event");
    zero_ns_ = steady_ns();
  }

  static double ms_between(const Event& from, const Event& to) {
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, from.get(), to.get()), "read an event");
    return ms;
  }

  void read_all() {
    check_cuda(cudaStreamSynchronize(stream_), "wait for the GPU");
    for (size_t i = 0; i < n_steps_; ++i) {
      const Step& step = steps_[i];
      KernelRun run{.name = "", .step = step.id};
      run.start_ns = zero_ns_ + static_cast<int64_t>(ms_between(zero_, step.before) * 1e6);
      run.end_ns = run.start_ns + static_cast<int64_t>(ms_between(step.before, step.behind) * 1e6);
      runs_.push_back(run);
    }
    n_steps_ = 0;
    set_zero();
  }

  cudaStream_t stream_;
  std::string why_no_kernels_;
  Event zero_;
  int64_t zero_ns_ = 0;
  std::vector<Step> steps_;
  size_t n_steps_ = 0;  // of steps_ that are recorded
  bool open_ = false;   // a step is
  std::vector<KernelRun> runs_;
};

}  // namespace

std::unique_ptr<DeviceProfiler> make_event_profiler(cudaStream_t stream,
                                                    const std::string& why_no_kernels) {
  return std::make_unique<EventProfiler>(stream, why_no_kernels);
}

std::unique_ptr<DeviceProfiler> make_profiler(cudaStream_t stream) {
  std::string why_not;
  if (auto profiler = make_cupti_profiler(stream, why_not)) return profiler;
  return make_event_profiler(stream, why_not);
}

}  // namespace winnow::cuda
