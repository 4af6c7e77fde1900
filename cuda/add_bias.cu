// x += bias, row by row: the bias of a product that was added to the residual stream.
//
//   block (b, i): elements [b * kThreads, (b + 1) * kThreads) of row i, one a thread
//
// Bound by memory: 8 bytes an element of x.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void add_bias_kernel(const float* bias, int64_t size, float* x) {
  const int64_t at = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (at < size) x[int64_t{blockIdx.x} * size + at] += bias[at];
}

}  // namespace

void add_bias(const float* bias, int64_t n, int64_t size, float* x, Stream stream) {
  const dim3 grid(grid_size(n), grid_size(ceil_div(size, kThreads)));
  add_bias_kernel<<<grid, kThreads, 0, stream>>>(bias, size, x);
  check_launch("add_bias");
}

}  // namespace winnow::cuda
