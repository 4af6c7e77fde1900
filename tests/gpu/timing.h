// How long work on the GPU takes.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "cuda/check.h"

namespace winnow::test {

class Event {
 public:
  Event() { cuda::check_cuda(cudaEventCreate(&event_), "make an event"); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record() { cuda::check_cuda(cudaEventRecord(event_, nullptr), "record an event"); }
  double microseconds_since(const Event& begin) {
    cuda::check_cuda(cudaEventSynchronize(event_), "run");
    float ms = 0;
    cuda::check_cuda(cudaEventElapsedTime(&ms, begin.event_, event_), "read the time");
    return 1000.0 * double{ms};
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// The median of several runs of what `run` queues on the default stream, after some to warm up.
inline double median_us(const std::function<void()>& run, int runs = 20, int warm_ups = 3) {
  Event begin, end;
  std::vector<double> times;
  for (int i = 0; i < warm_ups + runs; ++i) {
    begin.record();
    run();
    end.record();
    const double time = end.microseconds_since(begin);
    if (i >= warm_ups) times.push_back(time);
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[size_t(runs) / 2];
}

}  // namespace winnow::test
