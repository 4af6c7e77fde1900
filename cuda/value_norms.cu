// Norms of values, and of their products with the heads' output matrices: any type, any head.
//
//   kValue      one warp a row, 8 elements a lane; the norm goes to every query head of the group.
//               Bound by reading V.
//   kOutput,    block (b, head): tiles of 32 rows, and 32 columns of R or W_O at a time, through
//   kOutputL1   tile_products.cuh; squares or absolute values of a row's products are summed up by
//               column, then over the lanes. Bound by shared memory, see there.
#include <algorithm>

#include "cuda/attention.cuh"
#include "cuda/check.h"
#include "cuda/tile_products.cuh"
#include "cuda/value_norms.h"

namespace winnow::cuda {
namespace {

constexpr int kDims = 8;                 // elements of a row that a lane holds, for kValue
constexpr int64_t kTargetBlocks = 1056;  // over all heads: several rounds of all multiprocessors

/// NormArgs for kernels.
template <class T>
struct Norms {
  const T* v;  // [entries, head_dim] of kv
  KvRows kv;
  const int32_t* rows;  // [n_kv_heads]
  ScoreLists lists;
  int group;
  int head_dim;
  bool packs;  // rows are whole packs of 8 elements and start on multiples of 16 bytes

  __device__ void store(int head, int64_t row, float norm) const {
    const uint32_t mask = kv.mask[kv.first[head / group] + row];
    const bool seen = ((mask >> (head % group)) & 1U) != 0;
    lists.score[head * lists.stride + row] = seen ? norm : kUnseen;
  }
};

template <class T>
Norms<T> norms_of(const NormArgs& args) {
  return {.v = static_cast<const T*>(args.kv.v),
          .kv = args.kv,
          .rows = args.zones.rows,
          .lists = args.lists,
          .group = static_cast<int>(args.heads.group()),
          .head_dim = static_cast<int>(args.heads.head_dim),
          .packs = args.heads.head_dim % kDims == 0 && aligned16(args.kv.v)};
}

/// Block (b, h). Warps take rows in turn.
template <class T>
__global__ void __launch_bounds__(kTileThreads) value_norms_kernel(const Norms<T> a) {
  const int h = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first_dim = lane * kDims;
  const T* values = a.v + a.kv.first[h] * a.head_dim;
  const int64_t step = int64_t{gridDim.x} * kTileWarps;
#pragma unroll 4
  for (int64_t row = int64_t{blockIdx.x} * kTileWarps + threadIdx.x / kWarp; row < a.rows[h];
       row += step) {
    float v[kDims] = {};
    if (first_dim < a.head_dim) {
      const T* value = values + row * a.head_dim;
      a.packs ? load_floats<true>(value, first_dim, a.head_dim, v)
              : load_floats<false>(value, first_dim, a.head_dim, v);
    }
    const float norm = sqrtf(lanes_sum(dot(v, v)));
    if (lane < a.group) a.store(h * a.group + lane, row, norm);
  }
}

/// Block (b, head). column_of(j, d): element d of column j of those that values are multiplied
/// with.
template <bool kSquares, class T, class F>
__device__ void product_norms(const Norms<T>& a, int head, int n_columns, float* memory,
                              F&& column_of) {
  const int h = head / a.group;
  const int n_rows = a.rows[h];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int pitch = tile_pitch(a.head_dim);
  float* const values = memory;
  float* const columns = memory + kSide * pitch;
  const T* v = a.v + a.kv.first[h] * a.head_dim;
  for (int first = static_cast<int>(blockIdx.x) * kSide; first < n_rows;
       first += static_cast<int>(gridDim.x) * kSide) {
    __syncthreads();
    fill_tile(values, min(kSide, n_rows - first), a.head_dim,
              [&](int r, int d) { return to_float(v[int64_t{first + r} * a.head_dim + d]); });
    float sums[kTileRowsEach] = {};
    for (int column = 0; column < n_columns; column += kSide) {
      __syncthreads();
      fill_tile(columns, min(kSide, n_columns - column), a.head_dim,
                [&](int j, int d) { return column_of(column + j, d); });
      __syncthreads();
      float products[kTileRowsEach];
      tile_products(values, columns, pitch, products);
#pragma unroll
      for (int u = 0; u < kTileRowsEach; ++u) {
        sums[u] += kSquares ? products[u] * products[u] : fabsf(products[u]);
      }
    }
#pragma unroll
    for (int u = 0; u < kTileRowsEach; ++u) {
      const int row = first + warp + kTileWarps * u;
      const float sum = lanes_sum(sums[u]);
      if (row >= n_rows || threadIdx.x % kWarp != 0) continue;
      a.store(head, row, kSquares ? sqrtf(sum) : sum);
    }
  }
}

/// factor [n_heads, head_dim, head_dim]
template <class T>
__global__ void __launch_bounds__(kTileThreads)
    value_norms_factor_kernel(const Norms<T> a, const float* factor) {
  extern __shared__ float4 memory[];
  const int head = static_cast<int>(blockIdx.y);
  const float* r = factor + int64_t{head} * a.head_dim * a.head_dim;
  product_norms<true>(a, head, a.head_dim, reinterpret_cast<float*>(memory),
                      [&](int j, int d) { return r[d * a.head_dim + j]; });
}

/// o [n_outputs, n_heads * head_dim]
template <class T, class W>
__global__ void __launch_bounds__(kTileThreads)
    value_norms_output_kernel(const Norms<T> a, const W* o, int n_outputs, int64_t width) {
  extern __shared__ float4 memory[];
  const int head = static_cast<int>(blockIdx.y);
  const W* w = o + int64_t{head} * a.head_dim;
  product_norms<false>(a, head, n_outputs, reinterpret_cast<float*>(memory),
                       [&](int j, int d) { return to_float(w[j * width + d]); });
}

template <class T>
void launch_value(const NormArgs& args, Stream stream) {
  const int64_t most = ceil_div(kTargetBlocks, args.heads.n_kv_heads);
  const dim3 grid(std::min(blocks_for(args.zones.max_rows, kTileWarps), grid_size(most)),
                  grid_size(args.heads.n_kv_heads));
  value_norms_kernel<<<grid, kTileThreads, 0, stream>>>(norms_of<T>(args));
  check_launch("value_norms");
}

template <class Kernel>
void allow_memory(Kernel kernel, int bytes) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "shared memory of value_norms");
}

template <class T>
void launch_products(const NormArgs& args, Stream stream) {
  const Norms<T> a = norms_of<T>(args);
  const int64_t most = ceil_div(kTargetBlocks, args.heads.n_heads);
  const dim3 grid(std::min(blocks_for(args.zones.max_rows, kSide), grid_size(most)),
                  grid_size(args.heads.n_heads));
  const int bytes = 2 * kSide * tile_pitch(a.head_dim) * static_cast<int>(sizeof(float));
  if (args.how == ValueNorm::kOutput) {
    allow_memory(value_norms_factor_kernel<T>, bytes);
    value_norms_factor_kernel<<<grid, kTileThreads, bytes, stream>>>(a, args.w.o_factor);
  } else {
    const Matrix& o = args.w.o;
    with_type(o.type, [&]<class W>(const W*) {
      allow_memory(value_norms_output_kernel<T, W>, bytes);
      value_norms_output_kernel<<<grid, kTileThreads, bytes, stream>>>(
          a, static_cast<const W*>(o.data), static_cast<int>(o.rows), o.cols);
    });
  }
  check_launch("value_norms: products");
}

}  // namespace

bool value_norms_plain(const NormArgs& args, Stream stream) {
  with_type(args.type, [&]<class T>(const T*) { launch_products<T>(args, stream); });
  return true;
}

void value_norms(const LayerWeights& w, const KvRows& kv, const Heads& heads, DType type,
                 const Zones& zones, ValueNorm how, const ScoreLists& lists, Stream stream) {
  const NormArgs args = {
      .w = w, .kv = kv, .heads = heads, .type = type, .zones = zones, .how = how, .lists = lists};
  if (how == ValueNorm::kValue) {
    with_type(type, [&]<class T>(const T*) { launch_value<T>(args, stream); });
  } else if (!value_norms_mma(args, stream)) {
    value_norms_plain(args, stream);
  }
}

}  // namespace winnow::cuda
