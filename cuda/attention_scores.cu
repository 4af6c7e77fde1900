// score = q k / sqrt(head_dim): one query of every head against all rows of its KV head.
//
// Grid: block (b, h) takes tiles b, b + gridDim.x, ... of KV head h. Block: as in
// attention_decode.cu, kLanes neighbouring lanes hold a row, kDims elements each, and are called a
// team; a team takes kRows neighbouring rows of a tile at a time.
//
//   a tile   | team 0: kRows rows | team 1: kRows rows | ...
//
// K is read once; the query heads of the group come to it in parts of kHeads, out of shared memory.
// That leaves a lane with kHeads * kRows sums over its own elements, to be added up over the team.
// Instead of bringing each of them to every lane, a lane hands half of them over at each step:
//
//   lanes 8 apart:   16 sums -> 8     4 apart: -> 4     2 apart: -> 2     1 apart: -> 1
//
// until every lane has one whole score to store. Bound by memory: head_dim * sizeof(T) bytes a row.
#include <algorithm>

#include "cuda/attention.cuh"
#include "cuda/check.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kDims = 8;                 // elements of a row that a lane holds
constexpr int kRows = 4;                 // that a team has in flight
constexpr int64_t kTargetBlocks = 2048;  // over all heads: several rounds of all multiprocessors
constexpr int kMaxHeads = 4;             // query heads of a part

template <class T>
struct Scoring {
  const T* q;  // [n_heads, head_dim]
  const T* k;  // [entries, head_dim] of kv
  KvRows kv;
  const int32_t* rows;  // [n_kv_heads]
  const int32_t* seen;  // [n_kv_heads] the query is that of the last of so many rows
  float* score;         // [n_heads, stride]
  int64_t stride;
  int group;
  int head_dim;
  float scale;
  bool packs;  // rows of k are whole packs of 8 elements and start on multiples of 16 bytes
};

/// The group's queries as floats; zeros past the head and for the heads that the last part lacks.
/// to [parts * kHeads, kLanes * kDims]
template <int kLanes, int kHeads, class T>
__device__ void load_queries(const Scoring<T>& s, int h, float* to) {
  constexpr int kPadded = kLanes * kDims;
  const int n = static_cast<int>(ceil_div(s.group, kHeads)) * kHeads * kPadded;
  const T* queries = s.q + int64_t{h} * s.group * s.head_dim;
  for (int at = static_cast<int>(threadIdx.x); at < n; at += kThreads) {
    const int g = at / kPadded;
    const int d = at % kPadded;
    const bool exists = g < s.group && d < s.head_dim;
    to[at] = exists ? to_float(queries[g * s.head_dim + d]) : 0.0F;
  }
  __syncthreads();
}

/// A lane's elements of rows [row, row + kRows) of the head whose row 0 is `entry`; those from
/// n_rows on are stood in for by the last one.
template <bool kPacks, class T>
__device__ void load_rows(const Scoring<T>& s, int64_t entry, int64_t row, int64_t n_rows,
                          int first_dim, float (&to)[kRows][kDims]) {
#pragma unroll
  for (int u = 0; u < kRows; ++u) {
    const int64_t at = entry + min(row + u, n_rows - 1);
    load_floats<kPacks>(s.k + at * s.head_dim, first_dim, s.head_dim, to[u]);
  }
}

/// Adds each of kValues values up over kLanes lanes and spreads the sums over them: Share says
/// which of them a lane has in the end, in values[0] and on. Every sum is of the same tree of
/// lanes.
template <int kLanes, int kValues>
__device__ void spread_sums(float (&values)[kValues], int lane) {
  int n = kValues;  // values that a lane still has
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) {
    if (n == 1) {
      values[0] += __shfl_xor_sync(kAllLanes, values[0], apart);
      continue;
    }
    n /= 2;
    const bool upper = (lane & apart) != 0;
#pragma unroll
    for (int i = 0; i < kValues / 2; ++i) {
      if (i >= n) break;
      const float handed = upper ? values[i] : values[i + n];
      const float kept = upper ? values[i + n] : values[i];
      values[i] = kept + __shfl_xor_sync(kAllLanes, handed, apart);
    }
  }
}

/// The scores that spread_sums leaves a lane with, counted through kHeads * kRows of a part.
template <int kLanes, int kValues>
struct Share {
  static constexpr int kCount = kValues > kLanes ? kValues / kLanes : 1;
  static constexpr int kSame = kLanes > kValues ? kLanes / kValues : 1;  // lanes that have the same
  static_assert(kRows % kCount == 0);  // they are of one query head
  int head;
  int row;
  bool stores;

  __device__ explicit Share(int lane)
      : head(lane / kSame * kCount / kRows),
        row(lane / kSame * kCount % kRows),
        stores(lane % kSame == 0) {}
};

/// Block (b, h), where the group is gone through in parts of kHeads query heads.
template <class T, int kLanes, int kHeads>
__global__ void __launch_bounds__(kThreads) attention_scores_kernel(const Scoring<T> s) {
  constexpr int kTile = kThreads / kLanes * kRows;
  constexpr int kValues = kHeads * kRows;
  using Mine = Share<kLanes, kValues>;
  extern __shared__ float4 memory[];
  auto* queries = reinterpret_cast<float*>(memory);
  const int h = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int first_of_team = static_cast<int>(threadIdx.x) / kLanes * kRows;
  const int64_t n_rows = s.rows[h];
  const int64_t entry = s.kv.first[h];
  const int start = n_rows > 0 ? s.kv.window_start_of(entry + s.seen[h] - 1) : 0;
  const Mine mine(lane);
  load_queries<kLanes, kHeads>(s, h, queries);

  for (int64_t tile = int64_t{blockIdx.x} * kTile; tile < n_rows; tile += gridDim.x * kTile) {
    const int64_t first = tile + first_of_team;
    float k[kRows][kDims];
    s.packs ? load_rows<true>(s, entry, first, n_rows, lane * kDims, k)
            : load_rows<false>(s, entry, first, n_rows, lane * kDims, k);
    const int64_t row = first + mine.row;
    uint32_t mask[Mine::kCount];
#pragma unroll
    for (int e = 0; e < Mine::kCount; ++e) {
      const bool inside = row + e < n_rows && place_of(s.kv, entry + row + e) >= start;
      mask[e] = inside ? s.kv.mask[entry + row + e] : 0;
    }
    for (int part = 0; part < s.group; part += kHeads) {
      float sums[kValues];
#pragma unroll
      for (int j = 0; j < kHeads; ++j) {
        float q[kDims];
        load_floats<true>(queries + (part + j) * kLanes * kDims, lane * kDims, kLanes * kDims, q);
#pragma unroll
        for (int u = 0; u < kRows; ++u) sums[j * kRows + u] = dot(q, k[u]);
      }
      spread_sums<kLanes>(sums, lane);
      const int g = part + mine.head;
      if (!mine.stores || g >= s.group) continue;
      float* to = s.score + (int64_t{h} * s.group + g) * s.stride + row;
#pragma unroll
      for (int e = 0; e < Mine::kCount; ++e) {
        const bool seen = ((mask[e] >> g) & 1U) != 0;
        if (row + e < n_rows) to[e] = seen ? sums[e] * s.scale : kUnseen;
      }
    }
  }
}

template <class T, int kLanes, int kHeads>
void launch(const Scoring<T>& s, int64_t n_kv_heads, int64_t max_rows, Stream stream) {
  constexpr int64_t kTile = kThreads / kLanes * kRows;
  const int64_t most = ceil_div(kTargetBlocks, n_kv_heads);
  const dim3 grid(std::min(blocks_for(max_rows, kTile), grid_size(most)), grid_size(n_kv_heads));
  const auto padded_heads = static_cast<size_t>(ceil_div(s.group, kHeads) * kHeads);
  const size_t bytes = padded_heads * kLanes * kDims * sizeof(float);  // at most 32 KiB
  attention_scores_kernel<T, kLanes, kHeads><<<grid, kThreads, bytes, stream>>>(s);
  check_launch("attention_scores");
}

template <class T, int kLanes>
void launch_for_group(const Scoring<T>& s, int64_t n_kv_heads, int64_t max_rows, Stream stream) {
  s.group == 1 ? launch<T, kLanes, 1>(s, n_kv_heads, max_rows, stream)
               : launch<T, kLanes, kMaxHeads>(s, n_kv_heads, max_rows, stream);
}

}  // namespace

void attention_scores(const void* q, const KvRows& kv, const Heads& heads, DType type,
                      const Zones& zones, const ScoreLists& lists, Stream stream) {
  with_type(type, [&]<class T>(const T*) {
    const Scoring<T> s = {.q = static_cast<const T*>(q),
                          .k = static_cast<const T*>(kv.k),
                          .kv = kv,
                          .rows = zones.rows,
                          .seen = zones.seen != nullptr ? zones.seen : zones.rows,
                          .score = lists.score,
                          .stride = lists.stride,
                          .group = static_cast<int>(heads.group()),
                          .head_dim = static_cast<int>(heads.head_dim),
                          .scale = 1.0F / std::sqrt(static_cast<float>(heads.head_dim)),
                          .packs = heads.head_dim % kDims == 0 && aligned16(kv.k)};
    const int64_t lanes = ceil_div(heads.head_dim, kDims);
    if (lanes <= 8) return launch_for_group<T, 8>(s, heads.n_kv_heads, zones.max_rows, stream);
    if (lanes <= 16) return launch_for_group<T, 16>(s, heads.n_kv_heads, zones.max_rows, stream);
    launch_for_group<T, 32>(s, heads.n_kv_heads, zones.max_rows, stream);
  });
}

}  // namespace winnow::cuda
