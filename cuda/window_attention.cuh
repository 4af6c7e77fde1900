// What the ways of computing window attention share. All of them go over K twice, kLines queries of
// every query head at a time:
//
//   1. lines     part (max, sum) of each query's softmax over some of the rows, one a block or warp
//   2. merge     lse = max + log2 of the sum over the parts, in their order
//   3. columns   sum over the queries of 2^(score - lse), for each row that is held
//
// Scores are in base 2, as in attention.cuh. More than kLines queries are taken kLines at a time,
// each adding to what the last ones left in the lists.
#pragma once

#include "cuda/attention.cuh"
#include "cuda/check.h"
#include "cuda/window_attention.h"

namespace winnow::cuda {

constexpr int kLines = 32;                  // queries of a query head that are taken at once
constexpr int64_t kWindowBlocks = 3 * 132;  // about so many, over all heads

/// A softmax over some of a query's rows: sum of 2^(score - max).
struct LinePart {
  float max = kUnseen;
  float sum = 0;

  /// A NaN of one stays.
  __device__ void add(float more_max, float more_sum) {
    const float most = fmaxf(max, more_max);
    const float base = base_of(most);
    sum = sum * exp2f(max - base) + more_sum * exp2f(more_max - base);
    max = most;
  }

  /// Adds up the parts of kCount lanes, 1, 2, ... kCount / 2 apart.
  template <int kCount>
  __device__ void add_lanes() {
#pragma unroll
    for (int apart = 1; apart < kCount; apart *= 2) {
      const float more_max = __shfl_xor_sync(kAllLanes, max, apart);
      const float more_sum = __shfl_xor_sync(kAllLanes, sum, apart);
      add(more_max, more_sum);
    }
  }
};

/// WindowArgs for kernels, for the kLines queries from `first` on.
template <class T>
struct Window {
  const T* q;  // [n, n_heads, head_dim]
  const T* k;  // [entries, head_dim] of kv
  KvRows kv;
  const int32_t* rows;  // [n_kv_heads] that have a place in the lists
  const int32_t* seen;  // [n_kv_heads] that the last query sees
  ScoreLists lists;
  WindowSum how;
  LinePart* parts;  // [n_heads, kLines, n_parts]
  float* lse;       // [n_heads, kLines]; +infinity: the query sees no row
  int n_parts;
  int n;
  int first;
  int n_heads;
  int group;
  int head_dim;
  float scale;

  /// Queries of those taken now.
  __device__ int taken() const { return min(kLines, n - first); }

  /// Rows of KV head h that query i of those taken sees, masks aside; not positive: none.
  __device__ int visible_to(int h, int i) const { return seen[h] - n + first + i + 1; }

  __device__ const T* query(int head, int i) const {
    return q + (int64_t{first + i} * n_heads + head) * head_dim;
  }
  __device__ LinePart& part(int head, int i, int number) const {
    return parts[(int64_t{head} * kLines + i) * n_parts + number];
  }

  /// What a weight adds to its column.
  __device__ float term(float weight) const {
    return how == WindowSum::kNorm ? weight * weight : weight;
  }

  /// Adds a column's sum over the queries that are taken to its score, or closes it with the last
  /// of them. `shown`: one of them sees the row.
  __device__ void store(int head, int64_t row, float sum, bool shown) const {
    float* score = lists.score + head * lists.stride + row;
    if (first > 0 && *score != kUnseen) {
      sum += *score;
      shown = true;
    }
    const bool last = first + kLines >= n;
    if (last && how == WindowSum::kMean) sum /= static_cast<float>(n);
    if (last && how == WindowSum::kNorm) sum = sqrtf(sum);
    *score = shown ? sum : kUnseen;
  }
};

/// n_parts: of a query, at most.
template <class T>
Window<T> window_of(const WindowArgs& args, int64_t n_parts) {
  auto* parts = static_cast<LinePart*>(args.workspace);
  const int64_t lines = args.heads.n_heads * kLines;
  return {.q = static_cast<const T*>(args.queries),
          .k = static_cast<const T*>(args.kv.k),
          .kv = args.kv,
          .rows = args.zones.rows,
          .seen = args.zones.seen != nullptr ? args.zones.seen : args.zones.rows,
          .lists = args.lists,
          .how = args.how,
          .parts = parts,
          .lse = reinterpret_cast<float*>(parts + lines * n_parts),
          .n_parts = static_cast<int>(n_parts),
          .n = static_cast<int>(args.n),
          .first = 0,
          .n_heads = static_cast<int>(args.heads.n_heads),
          .group = static_cast<int>(args.heads.group()),
          .head_dim = static_cast<int>(args.heads.head_dim),
          .scale = attention_scale(args.heads.head_dim)};
}

/// Grid dimensions of the two kinds: how many blocks share the rows of a head (or of some heads).
inline int64_t plain_blocks(const Heads& heads) {
  return ceil_div(kWindowBlocks, heads.n_heads);
}

/// A block of 4 warps takes 4, 2 or 1 query heads; with fewer heads, warps share a head's rows.
struct MmaSplit {
  int64_t heads;   // of a block
  int64_t groups;  // of so many heads, in a KV head's group
  int64_t blocks;  // that share the rows

  explicit MmaSplit(const Heads& h)
      : heads(h.group() >= 3 ? 4 : h.group()),
        groups(ceil_div(h.group(), heads)),
        blocks(ceil_div(kWindowBlocks, h.n_kv_heads * groups)) {}

  int64_t parts() const { return blocks * (4 / heads); }  // of a query
};

/// Merges the parts of every line: one warp a line.  lse [lines]
void merge_lines(const LinePart* parts, int64_t lines, int64_t n_parts, float* lse, Stream stream);

}  // namespace winnow::cuda
