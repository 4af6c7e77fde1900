#include "cuda/gpu.h"

#include <cuda_runtime_api.h>

#include "cuda/check.h"

namespace winnow::cuda {

Gpu current_gpu() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "ask for the GPU");
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "ask for the GPU's properties");
  return {.multiprocessors = properties.multiProcessorCount,
          .capability = 10 * properties.major + properties.minor,
          .shared_bytes = static_cast<int>(properties.sharedMemPerMultiprocessor)};
}

}  // namespace winnow::cuda
