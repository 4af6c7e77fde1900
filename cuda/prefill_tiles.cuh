// attention_prefill_sm90.cu: the shapes of its tiles, what lies in shared memory, and which tiles
// of K/V rows a unit of work needs.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include "cuda/hopper.cuh"
#include "cuda/types.cuh"
#include "src/kv/rows.h"

namespace winnow::cuda::prefill {

using hopper::Barrier;

constexpr int kWarpgroup = 128;    // threads
constexpr int kGroupQueries = 64;  // query rows of a warpgroup
constexpr int kKeys = 128;         // K/V rows of a tile
constexpr int kSlab = 64;          // columns of a tile that lie together, 128 bytes of a row

/// Heads of 64 leave room for three warpgroups of queries: a K/V tile serves more of them.
template <class T, int kDim>
struct Shape {
  using Element = T;
  static constexpr int kHeadDim = kDim;
  static constexpr int kConsumers = kDim == 64 ? 3 : 2;  // warpgroups that multiply
  static constexpr int kThreads = kWarpgroup * (kConsumers + 1);
  static constexpr int kRows = kGroupQueries * kConsumers;  // query rows of a unit
  static constexpr int kStages = kDim == 64 ? 4 : 2;  // K tiles, and V tiles, in shared memory
  static constexpr int kSlabs = kDim / kSlab;
  // Registers a thread: all warpgroups' together are what the block starts with, that is 168 (or
  // 128) for each thread.
  static constexpr int kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : 160;
  static constexpr uint32_t kTileBytes = kKeys * kDim * sizeof(T);
  static constexpr uint32_t kQueryBytes = kRows * kDim * sizeof(T);
};

/// Tiles stand in the 128-byte swizzle, see wgmma.cuh, and start on multiples of 1024 bytes.
template <class S>
struct alignas(1024) Shared {
  using T = typename S::Element;
  T q[S::kConsumers][S::kSlabs][kGroupQueries * kSlab];
  T out[S::kConsumers][S::kSlabs][kGroupQueries * kSlab];
  T k[S::kStages][S::kSlabs * kKeys * kSlab];
  T v[S::kStages][S::kSlabs * kKeys * kSlab];
  Barrier q_full, q_free;
  Barrier k_full[S::kStages], k_free[S::kStages];
  Barrier v_full[S::kStages], v_free[S::kStages];
  Barrier v_copied[S::kStages];  // has come, but must be cleaned before it is full
};

/// Boxes of q and out: kGroupQueries rows of a head; of k and v: kKeys rows. All kSlab wide.
struct Maps {
  CUtensorMap q;    // [n, n_heads, head_dim] T
  CUtensorMap out;  // [n, n_heads, head_dim] T
  CUtensorMap k;    // [entries, head_dim] T
  CUtensorMap v;    // [entries, head_dim] T
};

/// What the kernel is told beside its tensor maps.
struct Problem {
  const int64_t* first;    // [n_kv_heads]
  const int32_t* visible;  // [n_kv_heads]
  const uint32_t* mask;    // [entries]
  float* lse;              // [n_heads, n] or null
  int appended;
  int n;
  int n_heads;
  int group;
  float scale;  // log2(e) / sqrt(head_dim)
  float slack;  // see PrefillPlan
  int units;    // row tiles times heads
};

/// A unit of work: query rows [row, row + kRows) of one query head, and the tiles of K/V rows that
/// they see, taken from the last to the first:
///
///    tile   0                plain_begin       plain_end          tiles
///           | kept rows: masks | seen by all rows | the diagonal: each row sees one more |
struct Work {
  int head;
  int row;
  int entry;  // of the KV head's row 0
  int kept;   // rows that the KV head had before this pass
  int end;    // rows that it has for the batch's last row
  int tiles;
  int plain_begin;
  int plain_end;

  /// Rows that batch row i sees, masks aside; rows past the batch see what the last one sees.
  __device__ __forceinline__ int seen_by(const Problem& p, int i) const {
    return end - max(p.n - 1 - i, 0);
  }
};

/// Units are numbered from the last rows, which see the most, to the first, so that short ones fill
/// the gaps at the end; and by head within the same rows, so that heads of a group, which read the
/// same K/V rows, run together.
template <class S>
__device__ __forceinline__ Work work_of(const Problem& p, int unit) {
  const int from_end = p.units - 1 - unit;
  Work work;
  work.head = from_end % p.n_heads;
  work.row = from_end / p.n_heads * S::kRows;
  const int h = work.head / p.group;
  const int visible = __ldg(p.visible + h);
  work.entry = static_cast<int>(__ldg(p.first + h));
  work.kept = max(visible - 1, 0);
  work.end = visible + p.appended + p.n - 1;
  const int last = work.seen_by(p, work.row + S::kRows - 1);
  work.tiles = max((last + kKeys - 1) / kKeys, 1);
  work.plain_begin = (work.kept + kKeys - 1) / kKeys;
  work.plain_end = work.seen_by(p, work.row) / kKeys;
  return work;
}

/// The unit that this block takes in its round: to and fro, so that who had a long one before has a
/// short one now. (Where each unit has a block of its own, there is one round.)
///
///   block      0  1  2  3
///   round 0    0  1  2  3
///   round 1    7  6  5  4
///   round 2    8  9  ...
__device__ __forceinline__ int unit_of(int round) {
  const int blocks = static_cast<int>(gridDim.x);
  const int own = static_cast<int>(blockIdx.x);
  return round * blocks + (round % 2 == 0 ? own : blocks - 1 - own);
}

/// Where the ring's tile of a running number lies, and the parity of its barriers' phase.
template <class S>
struct Slot {
  int index;
  uint32_t parity;
  __device__ __forceinline__ explicit Slot(int number)
      : index(number % S::kStages), parity(static_cast<uint32_t>(number / S::kStages % 2)) {}
};

}  // namespace winnow::cuda::prefill
