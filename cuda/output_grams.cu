// W_O W_O^T of every query head, from the output matrix as it is stored.
//
//   o [n_outputs, n_heads * head_dim]      grams[h][i][j] = sum over n of o[n][h i] o[n][h j]
//
// Grid: block (tile of 32 x 32 elements, head), through tile_products.cuh, kDepth outputs at a
// time. What kDepth outputs add is summed up by itself, and then added: rounding errors grow with
// the number of such sums, not of outputs. Once for a model; bound by shared memory.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/tile_products.cuh"

namespace winnow::cuda {
namespace {

constexpr int kDepth = 64;

/// tile[i][n] = o[first + n][column + i], for n < n_outputs and i < columns; zeros elsewhere.
template <class T>
__device__ void fill_turned(float* tile, const T* o, int64_t width, int n_outputs, int columns) {
  constexpr int kPitch = tile_pitch(kDepth);
  for (int at = static_cast<int>(threadIdx.x); at < kSide * kPitch; at += kTileThreads) {
    const int i = at % kSide;  // neighbouring threads read neighbours
    const int n = at / kSide;
    const bool inside = i < columns && n < min(n_outputs, kDepth);
    tile[i * kPitch + n] = inside ? to_float(o[n * width + i]) : 0.0F;
  }
}

template <class T>
__global__ void __launch_bounds__(kTileThreads)
    output_grams_kernel(const T* o, int n_outputs, int64_t width, int head_dim, float* grams) {
  constexpr int kPitch = tile_pitch(kDepth);
  __shared__ float4 memory[2 * kSide * kPitch / 4];
  auto* const left = reinterpret_cast<float*>(memory);
  float* const right = left + kSide * kPitch;
  const int tiles = static_cast<int>(ceil_div(head_dim, kSide));
  const int row = static_cast<int>(blockIdx.x) / tiles * kSide;
  const int column = static_cast<int>(blockIdx.x) % tiles * kSide;
  const T* head = o + int64_t{blockIdx.y} * head_dim;
  float sums[kTileRowsEach] = {};
  for (int n = 0; n < n_outputs; n += kDepth) {
    __syncthreads();
    fill_turned(left, head + n * width + row, width, n_outputs - n, head_dim - row);
    fill_turned(right, head + n * width + column, width, n_outputs - n, head_dim - column);
    __syncthreads();
    float products[kTileRowsEach];
    tile_products(left, right, kPitch, products);
#pragma unroll
    for (int u = 0; u < kTileRowsEach; ++u) sums[u] += products[u];
  }
  const int j = column + static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int u = 0; u < kTileRowsEach; ++u) {
    const int i = row + static_cast<int>(threadIdx.x) / kWarp + kTileWarps * u;
    if (i < head_dim && j < head_dim) {
      grams[(int64_t{blockIdx.y} * head_dim + i) * head_dim + j] = sums[u];
    }
  }
}

}  // namespace

void output_grams(const Matrix& o, const Heads& heads, float* grams, Stream stream) {
  const int64_t tiles = ceil_div(heads.head_dim, kSide);
  const dim3 grid(grid_size(tiles * tiles), grid_size(heads.n_heads));
  with_type(o.type, [&]<class T>(const T*) {
    output_grams_kernel<<<grid, kTileThreads, 0, stream>>>(static_cast<const T*>(o.data),
                                                           static_cast<int>(o.rows), o.cols,
                                                           static_cast<int>(heads.head_dim), grams);
  });
  check_launch("output_grams");
}

}  // namespace winnow::cuda
