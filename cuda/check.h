// Every CUDA call is checked: a failure becomes an Error that names the operation.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "src/base/error.h"

namespace winnow::cuda {

/// Throws where a call of the CUDA runtime failed: kMemory where memory ran out, else kDevice.
/// `operation` says what was tried, for people: "copy weights to the GPU". The runtime's memory of
/// the error is cleared, so that the next check does not see it again.
inline void check_cuda(cudaError_t status, std::string_view operation) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  const bool memory = status == cudaErrorMemoryAllocation;
  fail(memory ? ExitCode::kMemory : ExitCode::kDevice, "GPU: ", operation, ": ",
       cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}

/// To be called after every kernel launch: throws where the launch itself failed. What goes wrong
/// inside a kernel is reported by the next call that waits for the stream.
inline void check_launch(std::string_view kernel) {
  const cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) return;
  fail(ExitCode::kDevice, "GPU: launch of ", kernel, ": ", cudaGetErrorString(status), " (",
       cudaGetErrorName(status), ")");
}

}  // namespace winnow::cuda
