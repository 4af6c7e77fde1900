// Products of 32 rows with 32 columns in fp32, for the plain kernels: any type, any head size.
//
//   rows [32, pitch] in shared memory          columns [32, pitch] in shared memory
//
//   warp w, lane l:  the products of rows w, w + 8, w + 16, w + 24 with column l
//
// The lanes of a warp read one element of a row together and different columns, four neighbours at
// a time. The pitch is an odd number of fours, so that lanes meet all banks. Bound by shared
// memory: 5 reads of 16 bytes for 16 multiply-adds.
#pragma once

#include "cuda/types.cuh"

namespace winnow::cuda {

constexpr int kSide = 32;          // rows and columns of a tile
constexpr int kTileThreads = 256;  // of a block
constexpr int kTileWarps = kTileThreads / kWarp;
constexpr int kTileRowsEach = kSide / kTileWarps;  // rows of a warp

/// Floats from row to row of a tile of `depth` elements.
__host__ __device__ constexpr int tile_pitch(int depth) {
  return (static_cast<int>(ceil_div(depth, 4)) | 1) * 4;
}

/// tile[r][d] = element(r, d) for r < n and d < depth, and 0 for the others.
template <class F>
__device__ void fill_tile(float* tile, int n, int depth, F&& element) {
  const int pitch = tile_pitch(depth);
  for (int at = static_cast<int>(threadIdx.x); at < kSide * pitch; at += kTileThreads) {
    const int r = at / pitch;
    const int d = at % pitch;
    tile[at] = r < n && d < depth ? element(r, d) : 0.0F;
  }
}

/// products[u] = row (warp + kTileWarps u) times column (lane).
__device__ inline void tile_products(const float* rows, const float* columns, int pitch,
                                     float (&products)[kTileRowsEach]) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (float& product : products) product = 0;
  for (int d = 0; d < pitch; d += 4) {
    const auto column = load_pack<4>(columns + lane * pitch + d);
#pragma unroll
    for (int u = 0; u < kTileRowsEach; ++u) {
      const auto row = load_pack<4>(rows + (warp + kTileWarps * u) * pitch + d);
#pragma unroll
      for (int e = 0; e < 4; ++e) products[u] = fmaf(row.value[e], column.value[e], products[u]);
    }
  }
}

}  // namespace winnow::cuda
