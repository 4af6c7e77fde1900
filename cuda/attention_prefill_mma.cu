// Attention for many query rows on tensor cores, for 16-bit types and heads of 64 or 128.
//
// The plan is that of attention_prefill.cu: a block takes kQueries packed queries of one KV head
// and goes over the head's rows, kTile at a time. All products are of 16 x 16 blocks, through wmma:
//
//   warp w: queries 16 w .. 16 w + 15
//     scores [16, kTile]  = q [16, head_dim] * keys^T        accumulators -> shared memory
//     weights [16, kTile] = 2^(scores - max)                 two lanes a query; rounded to T
//     out [16, head_dim]  = out * factor + weights * values  accumulators
//
// Which element of an accumulator a lane holds is not specified. A factor a query therefore comes
// as an accumulator too, loaded from a 16 x 16 matrix whose row r is all factor[r]: the same place
// in both belongs to the same query.
//
// Bound by shared memory traffic: every warp reads the whole tile for 16 queries.
#include <mma.h>

#include "cuda/attention.cuh"
#include "cuda/attention_prefill.h"
#include "cuda/check.h"

namespace winnow::cuda {
namespace {

namespace wmma = nvcuda::wmma;

constexpr int kBlock = 16;  // side of a tensor core's block
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kQueries = kWarps * kBlock;
constexpr int kTile = 64;  // K/V rows taken at once
constexpr int kTileBlocks = kTile / kBlock;
constexpr int kScoreStride = kTile + 8;  // floats; the padding spreads rows over the banks
constexpr int kColumns = kTile / 2;      // scores of a query that one of its two lanes handles
constexpr int kLoad = 8;                 // elements of 16 bytes

using Accumulator = wmma::fragment<wmma::accumulator, kBlock, kBlock, kBlock, float>;
template <class T>
using Left = wmma::fragment<wmma::matrix_a, kBlock, kBlock, kBlock, T, wmma::row_major>;
template <class T>
using Right = wmma::fragment<wmma::matrix_b, kBlock, kBlock, kBlock, T, wmma::row_major>;
template <class T>
using RightTurned = wmma::fragment<wmma::matrix_b, kBlock, kBlock, kBlock, T, wmma::col_major>;

template <class T, int kHeadDim>
struct alignas(128) Shared {
  T q[kQueries][kHeadDim + kLoad];
  T k[kTile][kHeadDim + kLoad];
  T v[kTile][kHeadDim + kLoad];
  float scores[kWarps][kBlock][kScoreStride];  // then, over the same bytes, weights as T
  float factors[kWarps][kBlock][kBlock];
  uint32_t mask[kTile];
};

/// A lane's view of the query that it shares with its neighbour.
struct Query {
  int visible;  // rows that it may see, masks aside; 0: no such query
  int bit;      // of the row's mask
  float max = kUnseen;
  float sum = 0;  // over the columns that this lane handles
};

/// Rows [0, n) of a tile, zeros after them. rows [n, kHeadDim]
template <class T, int kHeadDim>
__device__ void copy_tile(const T* rows, int n, T (&to)[kTile][kHeadDim + kLoad]) {
  constexpr int kLoads = kHeadDim / kLoad;  // of a row
#pragma unroll
  for (int at = static_cast<int>(threadIdx.x); at < kTile * kLoads; at += kThreads) {
    const int c = at / kLoads;
    const int d = at % kLoads * kLoad;
    uint4 bits = {0, 0, 0, 0};
    if (c < n) bits = *reinterpret_cast<const uint4*>(rows + c * kHeadDim + d);
    *reinterpret_cast<uint4*>(&to[c][d]) = bits;
  }
}

/// Queries [first, first + kQueries) of KV head h; zeros where there are none.
template <class T, int kHeadDim>
__device__ void copy_queries(const Attention<T>& a, int h, int64_t first,
                             T (&to)[kQueries][kHeadDim + kLoad]) {
  constexpr int kLoads = kHeadDim / kLoad;
  for (int at = static_cast<int>(threadIdx.x); at < kQueries * kLoads; at += kThreads) {
    const int r = at / kLoads;
    const int d = at % kLoads * kLoad;
    const int64_t i = (first + r) / a.group;
    const int g = static_cast<int>((first + r) % a.group);
    uint4 bits = {0, 0, 0, 0};
    if (i < a.n) bits = *reinterpret_cast<const uint4*>(a.q + a.query_offset(h, i, g) + d);
    *reinterpret_cast<uint4*>(&to[r][d]) = bits;
  }
}

/// scores = q * keys^T for the queries of one warp.
template <class T, int kHeadDim>
__device__ void score_tile(Shared<T, kHeadDim>& shared, int warp) {
  constexpr int kStride = kHeadDim + kLoad;
  Accumulator scores[kTileBlocks];
  for (auto& block : scores) wmma::fill_fragment(block, 0.0F);
#pragma unroll
  for (int d = 0; d < kHeadDim; d += kBlock) {
    Left<T> q;
    wmma::load_matrix_sync(q, &shared.q[warp * kBlock][d], kStride);
#pragma unroll
    for (int c = 0; c < kTileBlocks; ++c) {
      RightTurned<T> k;
      wmma::load_matrix_sync(k, &shared.k[c * kBlock][d], kStride);
      wmma::mma_sync(scores[c], q, k, scores[c]);
    }
  }
#pragma unroll
  for (int c = 0; c < kTileBlocks; ++c) {
    wmma::store_matrix_sync(&shared.scores[warp][0][c * kBlock], scores[c], kScoreStride,
                            wmma::mem_row_major);
  }
  __syncwarp();
}

/// Column of the tile that a lane's score j is in: the two lanes of a query take turns by fours.
__device__ constexpr int column_of(int side, int j) {
  return j / 4 * 8 + side * 4 + j % 4;
}

/// The scores of one warp become weights of T, in the same place. Returns what the query's sums
/// so far must be multiplied by. `row` is the tile's first row.
template <class T>
__device__ float take_scores(float (&scores)[kBlock][kScoreStride], const uint32_t (&mask)[kTile],
                             float scale, int row, Query& query) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int r = lane / 2;
  const int side = lane % 2;
  float score[kColumns];
  float max = query.max;
#pragma unroll
  for (int j = 0; j < kColumns; j += 4) {
    const auto four = load_pack<4>(&scores[r][column_of(side, j)]);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int column = column_of(side, j + e);
      const bool seen = row + column < query.visible && ((mask[column] >> query.bit) & 1U) != 0;
      score[j + e] = seen ? four.value[e] * scale : kUnseen;
      max = fmaxf(max, score[j + e]);
    }
  }
  max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
  const float rescale = exp2f(query.max - base_of(max));
  query.max = max;
  query.sum *= rescale;
  T* weights = reinterpret_cast<T*>(&scores[r][0]);  // a row of weights in the bytes of its scores
  __syncwarp();
#pragma unroll
  for (int j = 0; j < kColumns; j += 4) {
    Pack<T, 4> four;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float weight = exp2f(score[j + e] - base_of(max));
      query.sum += weight;
      four.value[e] = from_float<T>(weight);
    }
    store_pack(weights + column_of(side, j), four);
  }
  __syncwarp();
  return rescale;
}

/// out[r] *= factor of query r, which both of its lanes hold.
template <int kBlocks>
__device__ void multiply_rows(float factor, float (&factors)[kBlock][kBlock],
                              Accumulator (&out)[kBlocks]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int j = 0; j < kBlock / 2; ++j) factors[lane / 2][lane % 2 * (kBlock / 2) + j] = factor;
  __syncwarp();
  Accumulator factor_block;
  wmma::load_matrix_sync(factor_block, &factors[0][0], kBlock, wmma::mem_row_major);
#pragma unroll
  for (int d = 0; d < kBlocks; ++d) {
#pragma unroll
    for (int e = 0; e < factor_block.num_elements; ++e) out[d].x[e] *= factor_block.x[e];
  }
  __syncwarp();
}

/// out += weights * values for the queries of one warp.
template <class T, int kHeadDim>
__device__ void add_values(Shared<T, kHeadDim>& shared, int warp,
                           Accumulator (&out)[kHeadDim / kBlock]) {
  const T* weights = reinterpret_cast<const T*>(&shared.scores[warp][0][0]);
#pragma unroll
  for (int c = 0; c < kTileBlocks; ++c) {
    Left<T> w;
    wmma::load_matrix_sync(w, weights + c * kBlock, 2 * kScoreStride);
#pragma unroll
    for (int d = 0; d < kHeadDim / kBlock; ++d) {
      Right<T> v;
      wmma::load_matrix_sync(v, &shared.v[c * kBlock][d * kBlock], kHeadDim + kLoad);
      wmma::mma_sync(out[d], w, v, out[d]);
    }
  }
}

/// The finished rows of one warp, kTile elements at a time through the place of its scores.
/// `query` is the lane's query, counted through the group, or beyond the last one.
template <class T, int kHeadDim>
__device__ void store(const Attention<T>& a, int h, int64_t query,
                      float (&scores)[kBlock][kScoreStride],
                      Accumulator (&out)[kHeadDim / kBlock]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t i = query / a.group;
  T* row = a.out + a.query_offset(h, i, static_cast<int>(query % a.group));
#pragma unroll
  for (int first = 0; first < kHeadDim; first += kTile) {
    __syncwarp();
#pragma unroll
    for (int c = 0; c < kTileBlocks; ++c) {
      wmma::store_matrix_sync(&scores[0][c * kBlock], out[first / kBlock + c], kScoreStride,
                              wmma::mem_row_major);
    }
    __syncwarp();
    if (i >= a.n) continue;
#pragma unroll
    for (int j = 0; j < kColumns; j += 4) {
      const int column = column_of(lane % 2, j);
      Pack<T, 4> four;
      for (int e = 0; e < 4; ++e) four.value[e] = from_float<T>(scores[lane / 2][column + e]);
      store_pack(row + first + column, four);
    }
  }
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads) attention_prefill_mma_kernel(const Attention<T> a) {
  extern __shared__ uint4 memory[];
  auto& shared = *reinterpret_cast<Shared<T, kHeadDim>*>(memory);
  const int h = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t first = int64_t{gridDim.x - 1 - blockIdx.x} * kQueries;
  const int64_t own = first + warp * kBlock + lane / 2;  // the lane's query
  Query query;
  query.visible = own / a.group < a.n ? static_cast<int>(a.kv.visible_to(h, own / a.group)) : 0;
  query.bit = static_cast<int>(own % a.group);
  copy_queries<T, kHeadDim>(a, h, first, shared.q);
  Accumulator out[kHeadDim / kBlock];
  for (auto& block : out) wmma::fill_fragment(block, 0.0F);

  const int64_t last = min(first + kQueries, a.n * a.group) - 1;
  const int n_rows = static_cast<int>(a.kv.visible_to(h, last / a.group));
  for (int row = 0; row < n_rows; row += kTile) {
    const int64_t entry = a.kv.first[h] + row;
    const int n = min(kTile, n_rows - row);
    __syncthreads();  // the last tile is used up
    copy_tile<T, kHeadDim>(a.k + entry * kHeadDim, n, shared.k);
    copy_tile<T, kHeadDim>(a.v + entry * kHeadDim, n, shared.v);
    if (threadIdx.x < kTile) {
      shared.mask[threadIdx.x] = threadIdx.x < n ? a.kv.mask[entry + threadIdx.x] : 0;
    }
    __syncthreads();
    score_tile(shared, warp);
    const float rescale = take_scores<T>(shared.scores[warp], shared.mask, a.scale, row, query);
    const bool changed = __any_sync(kAllLanes, rescale != 1.0F) != 0;
    if (changed) multiply_rows(rescale, shared.factors[warp], out);
    add_values(shared, warp, out);
  }
  const float sum = lanes_sum<2>(query.sum);
  if (lane % 2 == 0 && own / a.group < a.n) {
    a.store_lse(h, own / a.group, query.bit, query.max, sum);
  }
  multiply_rows(sum > 0 ? 1.0F / sum : 0.0F, shared.factors[warp], out);
  store<T, kHeadDim>(a, h, own, shared.scores[warp], out);
}

template <class T, int kHeadDim>
void launch(const AttentionArgs& args, Stream stream) {
  constexpr int kBytes = sizeof(Shared<T, kHeadDim>);
  check_cuda(cudaFuncSetAttribute(attention_prefill_mma_kernel<T, kHeadDim>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
             "shared memory of attention_prefill");
  const dim3 grid(grid_size(ceil_div(args.n * args.heads.group(), kQueries)),
                  grid_size(args.heads.n_kv_heads));
  attention_prefill_mma_kernel<T, kHeadDim>
      <<<grid, kThreads, kBytes, stream>>>(attention_of<T>(args));
  check_launch("attention_prefill_mma");
}

template <class T>
bool launch_for_head(const AttentionArgs& args, Stream stream) {
  if (!attention_of<T>(args).packs || !aligned16(args.out)) return false;
  switch (args.heads.head_dim) {
    case 64: launch<T, 64>(args, stream); return true;
    case 128: launch<T, 128>(args, stream); return true;
    default: return false;
  }
}

}  // namespace

bool attention_prefill_mma(const AttentionArgs& args, Stream stream) {
  if (args.kv.window != 0) return false;
  switch (args.type) {
    case DType::kF16: return launch_for_head<__half>(args, stream);
    case DType::kBF16: return launch_for_head<__nv_bfloat16>(args, stream);
    case DType::kF32: break;
  }
  return false;
}

}  // namespace winnow::cuda
