// Who measures when the GPU was at work.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "src/device_profiler.h"

namespace winnow::cuda {

/// Every kernel, by CUPTI's activity records. Null where CUPTI cannot be used: `why_not` becomes
/// the reason, one line. One at a time.
std::unique_ptr<DeviceProfiler> make_cupti_profiler(cudaStream_t stream, std::string& why_not);

/// Every step that is launched on `stream` outside of a capture, by events before and behind it.
std::unique_ptr<DeviceProfiler> make_event_profiler(cudaStream_t stream,
                                                    const std::string& why_no_kernels);

/// The better of the two. Fails with kDevice.
std::unique_ptr<DeviceProfiler> make_profiler(cudaStream_t stream);

}  // namespace winnow::cuda
