// Which rows each block of the fast decode attention reads.
//
// The grid is fixed, the rows are not: counts lie in device memory, and every block works out its
// share from them. Each KV head is given whole blocks, in the order of the heads:
//
//   head          |        0        |  1  |            2            | 3 |
//   rows          |  s  |  s  | rest| rest|  s  |  s  |  s  | rest  | 0 |
//   block            0     1     2     3     4     5     6     7      8     9 ..: nothing
//
// s is the least multiple of a tile with which all heads fit:
//
//   sum over heads of max(1, ceil(rows / s)) <= blocks
//
// With T rows in all and H heads, s lies between T / blocks, where the shares would be equal, and
// T / (blocks - H), since rounding up adds less than one block a head: no share is longer than
// that, however the rows are spread. Shares that go over the end of a head would be equal to the
// row, but a block would then read, wait and hand over twice.
#pragma once

#include "cuda/attention.cuh"

namespace winnow::cuda {

constexpr int kHeadsPerLane = 2;
constexpr int kMostKvHeads = kHeadsPerLane * kWarp;

/// Where the rows of all KV heads lie and how many there are, spread over a warp: lane l has heads
/// l and kWarp + l.
struct HeadRows {
  int64_t first[kHeadsPerLane];
  int rows[kHeadsPerLane];  // -1: no such head
};

/// Read past L1, which may hold what was there before another kernel changed it.
__device__ inline int32_t load_latest(const int32_t* from) {
  int32_t value;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}
__device__ inline int64_t load_latest(const int64_t* from) {
  int64_t value;
  asm volatile("ld.relaxed.gpu.global.s64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
  return value;
}

/// What batch row i sees.
__device__ inline HeadRows read_head_rows(const KvRows& kv, int n_kv_heads, int i) {
  HeadRows heads;
#pragma unroll
  for (int u = 0; u < kHeadsPerLane; ++u) {
    const int h = u * kWarp + static_cast<int>(threadIdx.x) % kWarp;
    const bool exists = h < n_kv_heads;
    heads.first[u] = exists ? load_latest(kv.first + h) : 0;
    heads.rows[u] = exists ? load_latest(kv.visible + h) + static_cast<int>(kv.appended) + i : -1;
  }
  return heads;
}

/// In all lanes the same.
__device__ inline bool same_rows(const HeadRows& a, const HeadRows& b) {
  bool same = true;
#pragma unroll
  for (int u = 0; u < kHeadsPerLane; ++u) {
    same = same && a.first[u] == b.first[u] && a.rows[u] == b.rows[u];
  }
  return __all_sync(kAllLanes, same);
}

/// Whether the layer has memory for all of these rows.
__device__ inline bool are_inside(const HeadRows& heads, int64_t entries) {
  bool inside = true;
#pragma unroll
  for (int u = 0; u < kHeadsPerLane; ++u) {
    inside = inside && heads.first[u] >= 0 && heads.first[u] + heads.rows[u] <= entries;
  }
  return __all_sync(kAllLanes, inside);
}

/// What a block reads: rows [begin, end) of a KV head.
struct Share {
  int head = -1;      // -1: nothing
  int index = 0;      // of the share, among those of its head
  int n = 0;          // shares of the head, which neighbouring blocks have
  int64_t entry = 0;  // of the head's row 0
  int rows = 0;       // of the head
  int begin = 0;      // a multiple of a tile
  int end = 0;
};

/// a / b, rounded up: in 32 bits, since it stands between the counts and the first load.
__device__ inline int divide_up(int a, int b) {
  return static_cast<int>(static_cast<unsigned>(a + b - 1) / static_cast<unsigned>(b));
}

/// Blocks for a head of so many tiles (-1: no such head) in shares of `size` tiles.
__device__ inline int blocks_of(int tiles, int size) {
  return tiles < 0 ? 0 : max(1, divide_up(tiles, size));
}

/// s in tiles, at least `least`.  n_blocks >= n_heads
__device__ inline int share_size(const int (&tiles)[kHeadsPerLane], int n_heads, int n_blocks,
                                 int least) {
  int sum = 0;
  int most = 0;
#pragma unroll
  for (const int n : tiles) {
    sum += max(n, 0);
    most = max(most, n);
  }
  sum = __reduce_add_sync(kAllLanes, sum);
  most = __reduce_max_sync(kAllLanes, most);
  int low = max(least, divide_up(sum, n_blocks));
  int high = n_blocks > n_heads ? divide_up(sum, n_blocks - n_heads) : most;
  high = max(low, high);
  while (low < high) {
    const int middle = (low + high) / 2;
    int blocks = 0;
#pragma unroll
    for (const int n : tiles) blocks += blocks_of(n, middle);
    if (__reduce_add_sync(kAllLanes, blocks) <= n_blocks) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

/// The sum of `value` over this lane and those before it.
__device__ inline int sum_up_to_lane(int value) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int before = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value += before;
  }
  return value;
}

/// The share of block `block` of n_blocks. To be called by whole warps; all get the same.
template <int kTileRows>
__device__ Share share_of(const HeadRows& heads, int n_kv_heads, int block, int n_blocks,
                          int least_rows) {
  int tiles[kHeadsPerLane];
#pragma unroll
  for (int u = 0; u < kHeadsPerLane; ++u) {
    tiles[u] = heads.rows[u] < 0 ? -1 : divide_up(heads.rows[u], kTileRows);
  }
  const int size = share_size(tiles, n_kv_heads, n_blocks, least_rows / kTileRows);
  Share share;
  int before = 0;  // blocks of the heads before
#pragma unroll
  for (int u = 0; u < kHeadsPerLane; ++u) {
    const int n = blocks_of(tiles[u], size);
    const int end = before + sum_up_to_lane(n);
    const unsigned owner = __ballot_sync(kAllLanes, end - n <= block && block < end);
    before = __shfl_sync(kAllLanes, end, kWarp - 1);
    if (owner == 0) continue;
    const int lane = __ffs(static_cast<int>(owner)) - 1;
    share.head = u * kWarp + lane;
    share.n = __shfl_sync(kAllLanes, n, lane);
    share.index = block - __shfl_sync(kAllLanes, end - n, lane);
    share.entry = __shfl_sync(kAllLanes, heads.first[u], lane);
    share.rows = __shfl_sync(kAllLanes, heads.rows[u], lane);
    share.begin = share.index * size * kTileRows;
    share.end = min(share.begin + size * kTileRows, share.rows);
  }
  return share;
}

}  // namespace winnow::cuda
