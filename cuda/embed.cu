// x[i] = table[token[i]] as fp32.
//
// One thread an element: block (i, b) takes columns [b * kThreads, (b + 1) * kThreads) of row i.
// Bound by memory: hidden_size * (4 + sizeof(T)) bytes a row.
#include "cuda/early_start.cuh"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

/// table [vocab_size, size] T; token [n]; x [n, size]
template <class T>
__global__ void embed_kernel(const T* table, const int32_t* token, int64_t size, float* x) {
  let_next_begin();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int64_t column = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (column < size) x[row * size + column] = to_float(table[token[row] * size + column]);
}

}  // namespace

void embed(const Matrix& table, const Batch& batch, Stream stream) {
  const dim3 grid(grid_size(batch.n), grid_size(ceil_div(table.cols, kThreads)));
  with_type(table.type, [&]<class T>(const T*) {
    launch_early({.grid = grid, .block = kThreads, .stream = stream}, "embed", embed_kernel<T>,
                 static_cast<const T*>(table.data), batch.token, table.cols, batch.x);
  });
}

}  // namespace winnow::cuda
