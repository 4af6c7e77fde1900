// Which rows stay: their numbers side by side, in ascending order, and their masks.
//
// The rows of a KV head are cut into kSplits stretches of whole tiles, one block each. A first
// kernel counts what stays of each stretch. A second one knows from these counts where its stretch
// begins in the list, and puts the rows there, tile by tile, each thread's place by a scan over the
// block.
//
//   rows of KV head h   | stretch 0: tile, tile, ... | stretch 1 | ...
//   a tile              | thread 0: kWidth rows | thread 1: kWidth rows | ...
//
// Bound by reading the scores of the zone, twice, and masks where they are asked for.
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWidth = 4;  // neighbouring rows that a thread looks at
constexpr int kTile = kThreads * kWidth;
constexpr int kSplits = 16;

struct Listing {
  KvRows kv;
  Zones zones;
  ScoreLists lists;
  KeptRows kept;
  int32_t* counts;  // [n_kv_heads, kSplits]: what stays of each stretch
  int lists_per_head;
  bool by_query_head;  // whether lists are those of query heads, and become the rows' masks
};

/// The rows that a block looks at; begin is a multiple of kTile, or the range is empty.
struct Stretch {
  int64_t begin;
  int64_t end;
};

__device__ Stretch stretch_of(int64_t n_rows, unsigned split) {
  const int64_t length = ceil_div(n_rows, int64_t{kSplits} * kTile) * kTile;
  const int64_t begin = min(split * length, n_rows);
  return {begin, min(begin + length, n_rows)};
}

/// Bit i of taken[e]: the head's list i takes row `row` + e, whatever the zone. `row` is a multiple
/// of kWidth.
__device__ void look_up(const Listing& l, int64_t h, int64_t row, uint32_t (&taken)[kWidth]) {
  const int64_t first_list = h * l.lists_per_head;
  const float* scores = l.lists.score + first_list * l.lists.stride + row;
#pragma unroll 4
  for (int i = 0; i < l.lists_per_head; ++i) {
    const Cut cut = l.lists.cut[first_list + i];
    const auto score = load_pack<kWidth>(scores + i * l.lists.stride);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      if (cut.takes(score.value[e], row + e)) taken[e] |= 1U << i;
    }
  }
}

/// Of rows [row, row + kWidth) below `end`, bit e: row + e stays. Where it is taken by lists, they
/// are in taken[e], which is 0 for the rows outside of the zone.
__device__ uint32_t staying(const Listing& l, int64_t h, int64_t row, int64_t end,
                            uint32_t (&taken)[kWidth]) {
  const int64_t zone_begin = l.zones.begin[h];
  const int64_t zone_end = l.zones.end[h];
  if (row < end && row < zone_end && row + kWidth > zone_begin) look_up(l, h, row, taken);
  uint32_t stays = 0;
#pragma unroll
  for (int e = 0; e < kWidth; ++e) {
    const bool in_zone = zone_begin <= row + e && row + e < zone_end;
    if (!in_zone) taken[e] = 0;
    if (row + e < end && (!in_zone || taken[e] != 0)) stays |= 1U << e;
  }
  return stays;
}

/// Block (split, h).
__global__ void __launch_bounds__(kThreads) list_kept_count_kernel(const Listing l) {
  using Reduce = cub::BlockReduce<int, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  const int64_t h = blockIdx.y;
  const Stretch stretch = stretch_of(l.zones.rows[h], blockIdx.x);
  int n = 0;
  for (int64_t row = stretch.begin + threadIdx.x * kWidth; row < stretch.end; row += kTile) {
    uint32_t taken[kWidth] = {};
    n += __popc(staying(l, h, row, stretch.end, taken));
  }
  const int total = Reduce(storage).Sum(n);
  if (threadIdx.x == 0) l.counts[h * kSplits + blockIdx.x] = total;
}

/// Block (split, h).
__global__ void __launch_bounds__(kThreads) list_kept_kernel(const Listing l) {
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const int64_t h = blockIdx.y;
  const Stretch stretch = stretch_of(l.zones.rows[h], blockIdx.x);
  int n = 0;  // rows that are listed before the tile
  for (unsigned split = 0; split < blockIdx.x; ++split) n += l.counts[h * kSplits + split];
  for (int64_t tile = stretch.begin; tile < stretch.end; tile += kTile) {
    const int64_t row = tile + threadIdx.x * kWidth;
    uint32_t taken[kWidth] = {};
    const uint32_t stays = staying(l, h, row, stretch.end, taken);
    int before = 0;
    int total = 0;
    Scan(storage).ExclusiveSum(__popc(stays), before, total);
    int64_t to = h * l.kept.stride + n + before;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      if (((stays >> e) & 1U) == 0) continue;
      const bool by_lists = l.by_query_head && taken[e] != 0;
      l.kept.row[to] = static_cast<int32_t>(row + e);
      l.kept.mask[to] = by_lists ? taken[e] : l.kv.mask[l.kv.first[h] + row + e];
      ++to;
    }
    n += total;
    __syncthreads();  // the scan's memory is used again
  }
  if (blockIdx.x == kSplits - 1 && threadIdx.x == 0) l.kept.count[h] = n;
}

}  // namespace

uint64_t list_kept_workspace_bytes(int64_t n_kv_heads) {
  return static_cast<uint64_t>(n_kv_heads) * kSplits * sizeof(int32_t);
}

void list_kept(const KvRows& kv, const Heads& heads, const Zones& zones, const ScoreLists& lists,
               const KeptRows& kept, void* workspace, Stream stream) {
  const Listing listing = {.kv = kv,
                           .zones = zones,
                           .lists = lists,
                           .kept = kept,
                           .counts = static_cast<int32_t*>(workspace),
                           .lists_per_head = static_cast<int>(lists.n / heads.n_kv_heads),
                           .by_query_head = lists.n == heads.n_heads};
  const dim3 grid(kSplits, grid_size(heads.n_kv_heads));
  list_kept_count_kernel<<<grid, kThreads, 0, stream>>>(listing);
  check_launch("list_kept: count");
  list_kept_kernel<<<grid, kThreads, 0, stream>>>(listing);
  check_launch("list_kept");
}

}  // namespace winnow::cuda
