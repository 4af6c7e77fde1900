// How the host learns which tokens were drawn: the GPU writes them into memory of the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "cuda/kernels.h"

namespace winnow::cuda {

class DrawnTokens {
 public:
  /// Needs a current device.
  DrawnTokens();

  /// For SampleArgs.  count [1] device memory, 0 at first
  DrawnSlots slots(int32_t* count) const { return {slots_.get(), count}; }

  /// Waits for the oldest draw that was not taken yet, on `stream`. Fails with kDevice where the
  /// stream has failed, with kInternal where nothing is drawn there.
  Drawn take(cudaStream_t stream);

 private:
  std::unique_ptr<Drawn[], decltype(&cudaFreeHost)> slots_;  // [Device::kMaxDrawn]
  int32_t taken_ = 0;
};

}  // namespace winnow::cuda
