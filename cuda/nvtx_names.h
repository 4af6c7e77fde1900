// Names by which NVIDIA's tools show what is ours. They cost nothing until a tool listens.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <string>

namespace winnow::cuda {

/// A row of nsys's timeline.
void name_stream(cudaStream_t stream, const std::string& name);

/// A range of addresses, as a heap: compute-sanitizer --nvtx yes names it where an access goes
/// wrong. Nothing is said about which parts of it may be used.
void name_memory(std::span<const std::byte> range, const std::string& name);

}  // namespace winnow::cuda
