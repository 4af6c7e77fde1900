// What a GPU's memory and tensor cores reach at most.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/gemm_lt.h"
#include "cuda/gpu.h"
#include "src/base/dtype.h"
#include "src/device.h"

namespace winnow::cuda {

/// A stream that is read, a copy, and a product of `type` of 8192 x 28672 x 4096, in up to 8 GiB of
/// the `free_bytes` that there are; both streams are far longer than any cache. Fails with kMemory.
Ceilings measure_ceilings(uint64_t free_bytes, DType type, const Gpu& gpu, GemmLt& gemm,
                          cudaStream_t stream);

}  // namespace winnow::cuda
