// attention_prefill_sm90.cu: the warp that copies tiles of q, k and v to shared memory, for all
// units of its block, as fast as slots become free.
#pragma once

#include "cuda/prefill_tiles.cuh"

namespace winnow::cuda::prefill {

template <class S>
__device__ __forceinline__ void copy_queries(const Maps& maps, const Work& work,
                                             Shared<S>& shared) {
  shared.q_full.expect(S::kQueryBytes);
#pragma unroll
  for (int w = 0; w < S::kConsumers; ++w) {
#pragma unroll
    for (int slab = 0; slab < S::kSlabs; ++slab) {
      hopper::load_box(shared.q[w][slab], maps.q, shared.q_full, slab * kSlab, work.head,
                       work.row + w * kGroupQueries);
    }
  }
}

/// Rows [entry, entry + kKeys). Those past the head's end come along, whatever they hold.
template <class S>
__device__ __forceinline__ void copy_tile(const CUtensorMap& map, int entry,
                                          typename S::Element* tile, Barrier& full) {
  full.expect(S::kTileBytes);
#pragma unroll
  for (int slab = 0; slab < S::kSlabs; ++slab) {
    hopper::load_box(tile + slab * kKeys * kSlab, map, full, slab * kSlab, entry);
  }
}

/// Rows [first, kKeys) of a tile become zeros. By a warp.
template <class S>
__device__ __forceinline__ void clean_rows(typename S::Element* tile, int first) {
  constexpr int kLoads = kSlab * static_cast<int>(sizeof(typename S::Element)) / 16;  // of a row
  auto* to = reinterpret_cast<uint4*>(tile);
#pragma unroll
  for (int slab = 0; slab < S::kSlabs; ++slab) {
    for (int at = first * kLoads + static_cast<int>(threadIdx.x) % kWarp; at < kKeys * kLoads;
         at += kWarp) {
      to[slab * kKeys * kLoads + at] = {0, 0, 0, 0};
    }
  }
}

/// Fills the ring with the tiles that all units of this block need, one after the other.
///
/// Weights of rows past the head's end are 0, but 0 * NaN is NaN: such rows of V are made zeros
/// before the tile is handed on. (In K they do no harm: scores are replaced, not multiplied.)
template <class S>
__device__ __forceinline__ void produce(const Maps& maps, const Problem& p, Shared<S>& shared) {
  const bool leads = threadIdx.x == 0;
  int number = 0;        // of tiles so far
  uint32_t cleaned = 0;  // bit s: parity of how often slot s was cleaned
  for (int round = 0; unit_of(round) < p.units; ++round) {
    const Work work = work_of<S>(p, unit_of(round));
    shared.q_free.wait((round & 1) ^ 1);
    if (leads) copy_queries<S>(maps, work, shared);
    for (int tile = work.tiles - 1; tile >= 0; --tile, ++number) {
      const Slot<S> slot(number);
      const int entry = work.entry + tile * kKeys;
      const int rows = work.end - tile * kKeys;
      shared.k_free[slot.index].wait(slot.parity ^ 1);
      if (leads) copy_tile<S>(maps.k, entry, shared.k[slot.index], shared.k_full[slot.index]);
      shared.v_free[slot.index].wait(slot.parity ^ 1);
      Barrier& arrived = rows < kKeys ? shared.v_copied[slot.index] : shared.v_full[slot.index];
      if (leads) copy_tile<S>(maps.v, entry, shared.v[slot.index], arrived);
      if (rows < kKeys) {
        shared.v_copied[slot.index].wait(cleaned >> slot.index & 1);
        cleaned ^= 1U << slot.index;
        clean_rows<S>(shared.v[slot.index], max(rows, 0));
        hopper::fence_async_proxy();
        __syncwarp();
        if (leads) shared.v_full[slot.index].arrive();
      }
    }
  }
}

}  // namespace winnow::cuda::prefill
