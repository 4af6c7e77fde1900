// What NVIDIA's profilers are told, for code that knows nothing of CUDA. A program that is built
// without CUDA has the same functions, which do nothing.
#pragma once

#include <memory>

#include "src/watch/observer.h"

namespace winnow {

/// Spans as NVTX ranges, in a domain for each phase: "winnow.prefill". A range's payload is the
/// number of its layer or token. They cost nothing until a tool listens. Null without CUDA.
std::shared_ptr<Observer> make_nvtx_ranges();

/// cudaProfilerStart and cudaProfilerStop. Fail with kDevice.
void start_profiler();
void stop_profiler();

}  // namespace winnow
