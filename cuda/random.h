// Random numbers that are made where they are needed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "src/base/dtype.h"

namespace winnow::cuda {

/// Element i becomes a uniform number in [-sqrt(3), sqrt(3)) * scale, so of standard deviation
/// `scale`, that depends on seed and i alone.  to [n] type, device memory
void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale, cudaStream_t stream);

}  // namespace winnow::cuda
