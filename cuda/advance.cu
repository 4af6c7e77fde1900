// Closes a pass: *position and every count of K/V rows grow by the rows of the pass.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

/// rows [n_counts]; position [1]
__global__ void advance_kernel(int32_t n, int64_t n_counts, int32_t* rows, int32_t* position) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n_counts) rows[i] += n;
  if (i == 0) *position += n;
}

}  // namespace

void advance(int64_t n, int64_t n_counts, const StepState& state, Stream stream) {
  const int64_t blocks = ceil_div(n_counts > 0 ? n_counts : 1, kThreads);
  advance_kernel<<<grid_size(blocks), kThreads, 0, stream>>>(static_cast<int32_t>(n), n_counts,
                                                             state.rows, state.position);
  check_launch("advance");
}

}  // namespace winnow::cuda
