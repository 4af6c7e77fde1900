// CUDA graphs: a sequence of launches that is handed to the GPU as one.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "src/device.h"

namespace winnow::cuda {

/// `steps` queue work on `stream` and do nothing else. The first run calls them, which loads their
/// kernels; the second captures them as a graph, which that and all later runs replay. Where
/// `graph` is false, every run calls them. `stream` outlives the recording.
std::unique_ptr<Recording> make_recording(std::function<void()> steps, cudaStream_t stream,
                                          bool graph);

}  // namespace winnow::cuda
