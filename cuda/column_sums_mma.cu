// Column sums (column_sums.cu) of many queries on tensor cores, for 16-bit types and heads of 64 or
// 128.
//
//   scores [128 rows, 8 queries] = K [128, head_dim] * Q^T [head_dim, 8]      8 blocks of mma
//
// Grid: block (b, h) takes rows [128 b, 128 b + 128) of KV head h, a warp 32 of them, which stay in
// its registers. The queries that see them come to shared memory by cp.async, kTile of one query
// head at a time, kStages of these tiles on their way:
//
//   head 0:  | q 0 .. 63 | q 64 .. 127 | ... |  head 1:  | q 0 .. 63 | ...
//
// Lane 4 g + c holds of a block (mma's layout; elements in the order of attention_decode_tile.cuh):
//
//   K        rows g, g + 8             elements 32 j + 8 c .. 8 c + 7
//   Q        query g                   elements 32 j + 8 c .. 8 c + 7     16 bytes, one load
//   scores   rows g, g + 8             queries 2c, 2c + 1
//
// so that a row's weights are summed up where they arise, over the queries 2c, 2c + 1 of every
// eight, and over the four lanes c at the very end. A head that a row's mask hides it from is left
// out of the row's total once its queries are through: what was summed up for it may be anything.
//
// Shared memory: piece p of 16 bytes of query i lies at p ^ (i odd ? 4 : 0), so that the lanes that
// a load serves at once, of two queries, meet all banks. Bound by the products, half of what
// attention itself computes: 2 * head_dim FLOPs for each query and row; exponentials and shared
// memory are close behind.
#include "cuda/async_copy.cuh"
#include "cuda/attention_decode_tile.cuh"
#include "cuda/check.h"
#include "cuda/column_sums.h"

namespace winnow::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWarpRows = 32;
constexpr int kRows = kWarps * kWarpRows;  // of a block
constexpr int kTile = 64;                  // queries
constexpr int kStages = 3;                 // tiles in shared memory
constexpr int kQueries = 8;                // of a block of mma
constexpr int kPiece = 8;                  // elements of 16 bytes

template <class T>
struct Sums {
  const T* q;        // [n, n_heads, head_dim]
  const float* lse;  // [n_heads, n]
  const T* k;        // [entries, head_dim] of kv
  const int32_t* stopped;
  KvRows kv;
  int n;
  int n_heads;
  int group;
  float scale;
};

template <class T, int kHeadDim>
struct Stages {
  T q[kStages][kTile * kHeadDim];
  float lse[kStages][kTile];
};

/// Where the piece of query i of a tile that holds elements [kPiece p, ...) is.
template <int kHeadDim>
__device__ constexpr int piece_at(int i, int p) {
  return i * kHeadDim + (p ^ ((i & 1) << 2)) * kPiece;
}

/// Starts the copy of queries [first, first + kTile) of a query head; zeros behind the last one.
template <class T, int kHeadDim>
__device__ void copy_tile(const Sums<T>& s, int head, int first, T* q, float* lse) {
  constexpr int kPieces = kHeadDim / kPiece;
#pragma unroll
  for (int at = static_cast<int>(threadIdx.x); at < kTile * kPieces; at += kThreads) {
    const int i = at / kPieces;
    const int p = at % kPieces;
    const bool inside = first + i < s.n;
    const int64_t query = inside ? first + i : 0;
    const T* from = s.q + (query * s.n_heads + head) * kHeadDim + p * kPiece;
    copy_async16(q + piece_at<kHeadDim>(i, p), from, inside);
  }
  const int i = static_cast<int>(threadIdx.x);
  if (i < kTile) {
    const bool inside = first + i < s.n;
    copy_async4(lse + i, s.lse + int64_t{head} * s.n + (inside ? first + i : 0), inside);
  }
  close_copies();
}

/// A warp's rows: lane 4 g + c has those at 16 b + 8 r + g.
template <int kHeadDim>
struct WarpRows {
  Words k[2][2][kHeadDim / 32];  // [b][r]
  uint32_t mask[2][2];           // 0 past the last row
  int first;                     // of the head
};

template <class T, int kHeadDim>
__device__ WarpRows<kHeadDim> load_rows(const Sums<T>& s, int h, int first, int n_rows) {
  WarpRows<kHeadDim> rows;
  rows.first = first;
#pragma unroll
  for (int b = 0; b < 2; ++b) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first + 16 * b + 8 * r + lane_g();
      const int64_t entry = s.kv.first[h] + min(row, n_rows - 1);
      rows.mask[b][r] = row < n_rows ? s.kv.mask[entry] : 0;
#pragma unroll
      for (int j = 0; j < kHeadDim / 32; ++j) {
        rows.k[b][r][j] = load_words(s.k + entry * kHeadDim + 32 * j + 8 * lane_c());
      }
    }
  }
  return rows;
}

/// Products of the warp's rows with queries [8 u, 8 u + 8) of a tile: [b][e] is that of row 16 b +
/// 8 (e / 2) + g and query 8 u + 2 c + e % 2.
template <class T, int kHeadDim>
__device__ void multiply(const WarpRows<kHeadDim>& rows, const T* q, int u, float (&scores)[2][4]) {
  float odd[2][4] = {};  // two sums, so that each product waits only for the last but one
#pragma unroll
  for (int b = 0; b < 2; ++b) {
#pragma unroll
    for (float& score : scores[b]) score = 0;
  }
#pragma unroll
  for (int j = 0; j < kHeadDim / 32; ++j) {
    const int at = piece_at<kHeadDim>(kQueries * u + lane_g(), 4 * j + lane_c());
    const uint4 piece = *reinterpret_cast<const uint4*>(q + at);
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      const auto& k0 = rows.k[b][0][j].word;
      const auto& k1 = rows.k[b][1][j].word;
      mma<T>(scores[b], k0[0], k1[0], k0[1], k1[1], piece.x, piece.y);
      mma<T>(odd[b], k0[2], k1[2], k0[3], k1[3], piece.z, piece.w);
    }
  }
#pragma unroll
  for (int b = 0; b < 2; ++b) {
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[b][e] += odd[b][e];
  }
}

/// Adds the weights of a tile's queries, of batch rows [first, first + kTile), to the sums of the
/// warp's rows. base: rows that batch row 0 sees.  lse [kTile]
template <class T, int kHeadDim>
__device__ void add_tile(const Sums<T>& s, const WarpRows<kHeadDim>& rows, const T* q,
                         const float* lse, int first, int base, float (&sums)[2][2]) {
  const bool whole = rows.first + kWarpRows <= base + first && first + kTile <= s.n;
#pragma unroll 2
  for (int u = 0; u < kTile / kQueries; ++u) {
    float scores[2][4];
    multiply<T, kHeadDim>(rows, q, u, scores);
    const float2 less = *reinterpret_cast<const float2*>(lse + kQueries * u + 2 * lane_c());
#pragma unroll
    for (int b = 0; b < 2; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float weight = exp2f(fmaf(scores[b][e], s.scale, e % 2 == 0 ? -less.x : -less.y));
        const int i = first + kQueries * u + 2 * lane_c() + e % 2;
        const int row = rows.first + 16 * b + 8 * (e / 2) + lane_g();
        if (!whole && (i >= s.n || row >= base + i)) weight = 0;
        sums[b][e / 2] += weight;
      }
    }
  }
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 3) column_sums_mma_kernel(const Sums<T> s) {
  extern __shared__ uint4 memory[];
  auto& stages = *reinterpret_cast<Stages<T, kHeadDim>*>(memory);
  if (s.stopped != nullptr && *s.stopped != 0) return;
  const int h = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(blockIdx.x) * kRows;
  const int base = static_cast<int>(s.kv.visible_to(h, 0));
  const int n_rows = base + s.n - 1;
  if (first >= n_rows) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const WarpRows<kHeadDim> rows = load_rows<T, kHeadDim>(s, h, first + warp * kWarpRows, n_rows);
  const int begin = max(first + 1 - base, 0) / kTile;  // tiles before see none of the rows
  const int n_tiles = static_cast<int>(ceil_div(s.n, kTile)) - begin;  // of a query head
  const int n_steps = n_tiles * s.group;
  const auto copy_step = [&](int step, int stage) {
    if (step >= n_steps) return close_copies();
    copy_tile<T, kHeadDim>(s, h * s.group + step / n_tiles, (begin + step % n_tiles) * kTile,
                           stages.q[stage], stages.lse[stage]);
  };
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) copy_step(step, step);
  float sums[2][2] = {};
  float total[2][2] = {};
  for (int step = 0; step < n_steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // the tile is there for all, and the one before it is used up by all
    copy_step(step + kStages - 1, (step + kStages - 1) % kStages);
    const int stage = step % kStages;
    add_tile<T, kHeadDim>(s, rows, stages.q[stage], stages.lse[stage],
                          (begin + step % n_tiles) * kTile, base, sums);
    if (step % n_tiles < n_tiles - 1) continue;
#pragma unroll
    for (int b = 0; b < 2; ++b) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (((rows.mask[b][r] >> (step / n_tiles)) & 1U) != 0) total[b][r] += sums[b][r];
        sums[b][r] = 0;
      }
    }
  }
  wait_for_copies<0>();
#pragma unroll
  for (int b = 0; b < 2; ++b) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float sum = lanes_sum<4>(total[b][r]);
      const int row = rows.first + 16 * b + 8 * r + lane_g();
      if (lane_c() != 0 || row >= n_rows) continue;
      s.kv.score[s.kv.first[h] + row] += sum / static_cast<float>(s.group);
    }
  }
}

template <class T, int kHeadDim>
void launch(const ColumnSumArgs& args, Stream stream) {
  constexpr int kBytes = sizeof(Stages<T, kHeadDim>);
  const Sums<T> sums = {.q = static_cast<const T*>(args.q),
                        .lse = args.lse,
                        .k = static_cast<const T*>(args.kv.k),
                        .stopped = args.stopped,
                        .kv = args.kv,
                        .n = static_cast<int>(args.n),
                        .n_heads = static_cast<int>(args.heads.n_heads),
                        .group = static_cast<int>(args.heads.group()),
                        .scale = attention_scale(kHeadDim)};
  check_cuda(cudaFuncSetAttribute(column_sums_mma_kernel<T, kHeadDim>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
             "shared memory of add_column_sums");
  const dim3 grid(blocks_for(args.kv.capacity, kRows), grid_size(args.heads.n_kv_heads));
  column_sums_mma_kernel<T, kHeadDim><<<grid, kThreads, kBytes, stream>>>(sums);
  check_launch("add_column_sums: mma");
}

template <class T>
bool launch_for_head(const ColumnSumArgs& args, Stream stream) {
  if (!aligned16(args.q) || !aligned16(args.kv.k)) return false;
  switch (args.heads.head_dim) {
    case 64: launch<T, 64>(args, stream); return true;
    case 128: launch<T, 128>(args, stream); return true;
    default: return false;
  }
}

}  // namespace

bool column_sums_mma(const ColumnSumArgs& args, Stream stream) {
  if (args.kv.window != 0) return false;
  switch (args.type) {
    case DType::kF16: return launch_for_head<__half>(args, stream);
    case DType::kBF16: return launch_for_head<__nv_bfloat16>(args, stream);
    case DType::kF32: break;
  }
  return false;
}

}  // namespace winnow::cuda
