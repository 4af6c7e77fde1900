// Rows of K or V that are read one by one. A team of kLanes neighbouring lanes holds a row,
// kTeamDims elements each:
//
//   a warp   | team 0: row r | team 1: row r + 1 | ...        kLanes: 8, 16 or 32
//   a row    | lane 0: 0 .. 7 | lane 1: 8 .. 15 | ...         zeros past the head
#pragma once

#include <type_traits>

#include "cuda/attention.cuh"

namespace winnow::cuda {

constexpr int kTeamDims = 8;
static_assert(kMaxHeadDim <= kWarp * kTeamDims);

/// K or V of a layer, for kernels.
template <class T>
struct TeamRows {
  const T* data;  // [entries, head_dim]: k or v of kv
  KvRows kv;
  const int32_t* rows;  // [n_kv_heads]
  int group;
  int head_dim;
  bool packs;  // rows are whole packs of 8 elements and start on multiples of 16 bytes

  /// A lane's elements of row r of KV head h.
  __device__ void load(int64_t h, int64_t r, int lane, float (&to)[kTeamDims]) const {
    const T* row = data + (kv.first[h] + r) * head_dim;
    const int first = lane * kTeamDims;
    packs ? load_floats<true>(row, first, head_dim, to)
          : load_floats<false>(row, first, head_dim, to);
    if (first < head_dim) return;
#pragma unroll
    for (float& x : to) x = 0;
  }

  /// The query heads of the group that see row r of KV head h, as the bits of a mask: by its own
  /// mask, and by the window of the head's last row.
  __device__ uint32_t seen_by(int64_t h, int64_t r) const {
    const int64_t entry = kv.first[h] + r;
    const bool inside = kv.in_window(entry, kv.window_start_of(kv.first[h] + rows[h] - 1));
    return inside ? kv.mask[entry] & mask_of_group(group) : 0;
  }
};

/// `data` is kv.k or kv.v.
template <class T>
TeamRows<T> team_rows(const void* data, const KvRows& kv, const Heads& heads, const Zones& zones) {
  return {.data = static_cast<const T*>(data),
          .kv = kv,
          .rows = zones.rows,
          .group = static_cast<int>(heads.group()),
          .head_dim = static_cast<int>(heads.head_dim),
          .packs = heads.head_dim % kTeamDims == 0 && aligned16(data)};
}

/// Calls `body` with the lanes of a team, as an integral_constant.
template <class Body>
void with_team(int64_t head_dim, Body&& body) {
  const int64_t lanes = ceil_div(head_dim, kTeamDims);
  if (lanes <= 8) return body(std::integral_constant<int, 8>());
  if (lanes <= 16) return body(std::integral_constant<int, 16>());
  body(std::integral_constant<int, 32>());
}

}  // namespace winnow::cuda
