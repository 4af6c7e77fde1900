// Attention for many query rows, any type and head size, without a matrix of all scores.
//
// Grid: block (b, h) takes kQueries queries of KV head h. A group's query heads are packed: query r
// is head r % group of batch row r / group, so that each K/V row is read once for all of them. The
// last queries see the most rows and go first.
//
//                         rows of KV head h, kTile at a time ->
//   warp 0  8 queries   | scores, one row a lane | ...
//   warp 1  8 queries   |                        |        softmax: a warp's own affair
//   ...                                                   values: a lane holds elements
//                                                                 lane, lane + 32, ... of out
//
// Keys, then values of a tile lie in shared memory as floats. Bound by shared memory and fp32
// arithmetic: 4 * head_dim operations a query and row.
#include <algorithm>

#include "cuda/attention.cuh"
#include "cuda/attention_prefill.h"
#include "cuda/check.h"

namespace winnow::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWarpQueries = 8;
constexpr int kQueries = kWarps * kWarpQueries;
constexpr int kTile = kWarp;  // K/V rows taken at once

/// Shared memory, all fp32. Rows of heads are padded by 2: lanes that read the same column of
/// neighbouring rows meet different banks.
struct Tiles {
  float* q;        // [kQueries, stride], scaled
  float* kv;       // [kTile, stride]: keys, then values
  float* weights;  // [kWarps, kTile, kWarpQueries]
  int stride;

  static int stride_of(int64_t head_dim) { return static_cast<int>(head_dim) + 2; }
  static size_t bytes(int64_t head_dim) {
    return static_cast<size_t>((kQueries + kTile) * stride_of(head_dim) + kThreads * kWarpQueries) *
           sizeof(float);
  }
  __device__ Tiles(float* memory, int head_dim)
      : q(memory + kThreads * kWarpQueries),
        kv(q + kQueries * (head_dim + 2)),
        weights(memory),
        stride(head_dim + 2) {}
};

/// One head's row as floats times `scale`, by one warp. row [head_dim], or null for zeros.
template <class T>
__device__ void copy_row(const T* row, int head_dim, float scale, float* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int d = 2 * lane; d < head_dim; d += 2 * kWarp) {
    float2 pair = {0, 0};
    if (row != nullptr) {
      const Pack<T, 2> stored = load_pack<2>(row + d);
      pair = {to_float(stored.value[0]) * scale, to_float(stored.value[1]) * scale};
    }
    *reinterpret_cast<float2*>(to + d) = pair;
  }
}

/// Rows [0, n) of a tile, zeros after them. rows [n, head_dim]
template <class T>
__device__ void copy_tile(const T* rows, int n, int head_dim, const Tiles& tiles) {
  for (int c = static_cast<int>(threadIdx.x) / kWarp; c < kTile; c += kWarps) {
    const T* row = c < n ? rows + int64_t{c} * head_dim : nullptr;
    copy_row(row, head_dim, 1.0F, tiles.kv + c * tiles.stride);
  }
}

/// The queries of one warp, and a lane's share of their running softmaxes.
template <int kDims>
struct Queries {
  int visible[kWarpQueries];  // rows that the query may see, masks aside; 0: no such query
  int bit[kWarpQueries];      // of the row's mask
  int start[kWarpQueries];    // place in the text where the window begins
  float max[kWarpQueries];
  float sum[kWarpQueries];  // over the rows that this lane scored
  float out[kWarpQueries][kDims];
};

template <int kDims, class T>
__device__ void start(const Attention<T>& a, int h, int64_t first, Queries<kDims>& queries) {
#pragma unroll
  for (int r = 0; r < kWarpQueries; ++r) {
    const int64_t query = first + r;
    const int64_t i = query / a.group;
    queries.visible[r] = i < a.n ? static_cast<int>(a.kv.visible_to(h, i)) : 0;
    queries.bit[r] = static_cast<int>(query % a.group);
    queries.start[r] = i < a.n ? a.kv.window_start(h, i) : 0;
    queries.max[r] = kUnseen;
    queries.sum[r] = 0;
    for (float& value : queries.out[r]) value = 0;
  }
}

/// The warp's queries times the tile's keys: a lane scores row `lane`.  q [kWarpQueries, stride]
__device__ void score_tile(const Tiles& tiles, const float* q, int head_dim,
                           float (&scores)[kWarpQueries]) {
  const float* k = tiles.kv + static_cast<int>(threadIdx.x) % kWarp * tiles.stride;
#pragma unroll 4
  for (int d = 0; d < head_dim; d += 2) {
    const float2 key = *reinterpret_cast<const float2*>(k + d);
#pragma unroll
    for (int r = 0; r < kWarpQueries; ++r) {
      const float2 query = *reinterpret_cast<const float2*>(q + r * tiles.stride + d);
      scores[r] = fmaf(query.x, key.x, fmaf(query.y, key.y, scores[r]));
    }
  }
}

/// The scores become weights, and what was summed so far is brought to the new maxima. `row` is the
/// lane's row of the head, `mask` its mask, `place` its place in the text.  weights [kTile,
/// kWarpQueries]
template <int kDims>
__device__ void take_scores(const float (&scores)[kWarpQueries], int row, uint32_t mask, int place,
                            Queries<kDims>& queries, float* weights) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int r = 0; r < kWarpQueries; ++r) {
    const bool seen = row < queries.visible[r] && ((mask >> queries.bit[r]) & 1U) != 0 &&
                      place >= queries.start[r];
    const float score = seen ? scores[r] : kUnseen;
    const float max = fmaxf(queries.max[r], warp_max(score));
    const float rescale = exp2f(queries.max[r] - base_of(max));
    const float weight = exp2f(score - base_of(max));
    queries.max[r] = max;
    queries.sum[r] = queries.sum[r] * rescale + weight;
    for (float& value : queries.out[r]) value *= rescale;
    weights[lane * kWarpQueries + r] = weight;
  }
}

/// out += weights * values.  weights [kTile, kWarpQueries]
template <int kDims>
__device__ void add_values(const Tiles& tiles, const float* weights, int head_dim,
                           Queries<kDims>& queries) {
  int column[kDims];  // of this lane; past the head any, and not stored
#pragma unroll
  for (int j = 0; j < kDims; ++j) {
    column[j] = min(static_cast<int>(threadIdx.x) % kWarp + j * kWarp, head_dim - 1);
  }
#pragma unroll 2
  for (int c = 0; c < kTile; ++c) {
    const auto low = load_pack<4>(weights + c * kWarpQueries);
    const auto high = load_pack<4>(weights + c * kWarpQueries + 4);
#pragma unroll
    for (int j = 0; j < kDims; ++j) {
      const float v = tiles.kv[c * tiles.stride + column[j]];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        queries.out[r][j] = fmaf(low.value[r], v, queries.out[r][j]);
        queries.out[r + 4][j] = fmaf(high.value[r], v, queries.out[r + 4][j]);
      }
    }
  }
}

template <int kDims, class T>
__device__ void store(const Attention<T>& a, int h, int64_t first, const Queries<kDims>& queries) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int r = 0; r < kWarpQueries; ++r) {
    const float sum = lanes_sum(queries.sum[r]);
    const float inverse = sum > 0 ? 1.0F / sum : 0.0F;
    const int64_t i = (first + r) / a.group;
    if (i >= a.n) continue;
    if (lane == 0) a.store_lse(h, i, queries.bit[r], queries.max[r], sum);
    T* out = a.out + a.query_offset(h, i, queries.bit[r]);
#pragma unroll
    for (int j = 0; j < kDims; ++j) {
      const int d = lane + j * kWarp;
      if (d < a.head_dim) out[d] = from_float<T>(queries.out[r][j] * inverse);
    }
  }
}

/// kDims: elements of a head that a lane holds, at least head_dim / 32.
template <class T, int kDims>
__global__ void __launch_bounds__(kThreads) attention_prefill_kernel(const Attention<T> a) {
  extern __shared__ float4 memory[];
  const Tiles tiles(reinterpret_cast<float*>(memory), a.head_dim);
  const int h = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t first = int64_t{gridDim.x - 1 - blockIdx.x} * kQueries;
  const int64_t first_of_warp = first + warp * kWarpQueries;
  float* q = tiles.q + warp * kWarpQueries * tiles.stride;
  float* weights = tiles.weights + warp * kTile * kWarpQueries;

  for (int r = 0; r < kWarpQueries; ++r) {
    const int64_t i = (first_of_warp + r) / a.group;
    const int g = static_cast<int>((first_of_warp + r) % a.group);
    const T* query = i < a.n ? a.q + a.query_offset(h, i, g) : nullptr;
    copy_row(query, a.head_dim, a.scale, q + r * tiles.stride);
  }
  Queries<kDims> queries;
  start(a, h, first_of_warp, queries);

  const int64_t last = min(first + kQueries, a.n * a.group) - 1;
  const int n_rows = static_cast<int>(a.kv.visible_to(h, last / a.group));
  const int block_start = a.kv.window_start(h, first / a.group);  // later queries' lie behind it
  for (int row = 0; row < n_rows; row += kTile) {
    const int64_t entry = a.kv.first[h] + row;
    const int n = min(kTile, n_rows - row);
    const int place = lane < n ? place_of(a.kv, entry + lane) : -1;
    if (__all_sync(kAllLanes, place < block_start)) continue;  // each warp finds the same
    __syncthreads();  // the values of the last tile are used up
    copy_tile(a.k + entry * a.head_dim, n, a.head_dim, tiles);
    __syncthreads();
    float scores[kWarpQueries] = {};
    score_tile(tiles, q, a.head_dim, scores);
    take_scores(scores, row + lane, lane < n ? a.kv.mask[entry + lane] : 0, place, queries,
                weights);
    __syncthreads();
    copy_tile(a.v + entry * a.head_dim, n, a.head_dim, tiles);
    __syncthreads();
    add_values(tiles, weights, a.head_dim, queries);
  }
  store(a, h, first_of_warp, queries);
}

template <class T, int kDims>
void launch(const AttentionArgs& args, Stream stream) {
  const Heads& heads = args.heads;
  const size_t bytes = Tiles::bytes(heads.head_dim);
  check_cuda(
      cudaFuncSetAttribute(attention_prefill_kernel<T, kDims>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      "shared memory of attention_prefill");
  const dim3 grid(grid_size(ceil_div(args.n * heads.group(), kQueries)),
                  grid_size(heads.n_kv_heads));
  attention_prefill_kernel<T, kDims><<<grid, kThreads, bytes, stream>>>(attention_of<T>(args));
  check_launch("attention_prefill");
}

}  // namespace

bool attention_prefill_plain(const AttentionArgs& args, Stream stream) {
  with_type(args.type, [&]<class T>(const T*) {
    const int64_t dims = ceil_div(args.heads.head_dim, kWarp);
    if (dims <= 2) return launch<T, 2>(args, stream);
    if (dims <= 4) return launch<T, 4>(args, stream);
    launch<T, 8>(args, stream);
  });
  return true;
}

void attention_prefill(const AttentionArgs& args, Stream stream) {
  (void)(attention_prefill_sm90(args, stream) || attention_prefill_mma(args, stream) ||
         attention_prefill_plain(args, stream));
}

}  // namespace winnow::cuda
