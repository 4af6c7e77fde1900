// Pages of GPU memory, for the arena.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "src/arena.h"

namespace winnow::cuda {

/// Pages of `device`, which is current and outlives them, as `stream` does. Giving memory back
/// waits for the work on `stream`. A decommit covers what whole calls of commit brought, but for
/// the last page of each: that one may come alone. Fails with kDevice.
std::unique_ptr<PageSource> make_cuda_pages(int device, cudaStream_t stream);

}  // namespace winnow::cuda
