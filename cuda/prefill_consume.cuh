// attention_prefill_sm90.cu: the warpgroups that multiply. Each keeps 64 query rows of a unit in
// registers and takes the tiles of the ring in their order.
#pragma once

#include "cuda/prefill_softmax.cuh"
#include "cuda/prefill_tiles.cuh"
#include "cuda/wgmma.cuh"

namespace winnow::cuda::prefill {

// Named barriers: one for each warpgroup's turn, one for its own threads.
template <class S>
__device__ __forceinline__ void take_turn(const Queries<S>& queries) {
  hopper::named_sync(1 + queries.warpgroup, 2 * kWarpgroup);
}
template <class S>
__device__ __forceinline__ void pass_turn(const Queries<S>& queries) {
  const int next = queries.warpgroup == S::kConsumers - 1 ? 0 : queries.warpgroup + 1;
  hopper::named_arrive(1 + next, 2 * kWarpgroup);
}
template <class S>
__device__ __forceinline__ void sync_warpgroup(const Queries<S>& queries) {
  hopper::named_sync(1 + S::kConsumers + queries.warpgroup, kWarpgroup);
}

/// The warpgroup has read what `free` stands for: it may be copied over.
__device__ __forceinline__ void release(Barrier& free) {
  if (threadIdx.x % kWarpgroup == 0) free.arrive();
}

/// Starts scores = q k^T, 16 elements of the head at a time.
template <class S>
__device__ __forceinline__ void start_scores(Shared<S>& shared, int slot, Queries<S>& queries) {
  using T = typename S::Element;
  hopper::pin(queries.scores);
  hopper::begin_products();
#pragma unroll
  for (int d = 0; d < S::kHeadDim; d += 16) {
    const T* q = shared.q[queries.warpgroup][d / kSlab] + d % kSlab;
    const T* k = shared.k[slot] + d / kSlab * kKeys * kSlab + d % kSlab;
    hopper::multiply_turned<T>(queries.scores, hopper::describe(q), hopper::describe(k), d);
  }
  hopper::commit_products();
}

/// Starts out += weights v, 16 rows of v at a time.
template <class S>
__device__ __forceinline__ void start_out(Shared<S>& shared, int slot, Queries<S>& queries) {
  using T = typename S::Element;
  constexpr uint32_t kSlabBytes = kKeys * kSlab * sizeof(T);
  hopper::pin(queries.out);
  hopper::begin_products();
#pragma unroll
  for (int i = 0; i < kKeys / 16; ++i) {
    const T* v = shared.v[slot] + i * 16 * kSlab;
    hopper::multiply<T>(queries.out, queries.weights[i], hopper::describe(v, kSlabBytes));
  }
  hopper::commit_products();
}

/// Scores of a tile that the thread's queries do not see become -infinity.
template <class S>
__device__ __forceinline__ void hide_unseen(const Problem& p, const Work& work, int tile,
                                            const Sight& sight, Queries<S>& queries) {
  const int row = work.row + queries.warpgroup * kGroupQueries +
                  static_cast<int>(threadIdx.x) % kWarpgroup / kWarp * 16 +
                  static_cast<int>(threadIdx.x) % kWarp / 4;
  const int first = tile * kKeys;
  hide_later_rows(queries.scores, {work.seen_by(p, row) - first, work.seen_by(p, row + 8) - first});
  if (first < work.kept) hide_masked_rows(queries.scores, sight);
}

/// The unit's first tile: its scores become weights; out is empty.
template <class S>
__device__ __forceinline__ void first_step(const Problem& p, const Work& work, Shared<S>& shared,
                                           int number, Queries<S>& queries) {
  const Slot<S> slot(number);
  const int tile = work.tiles - 1;
  Sight sight;
  if (tile * kKeys < work.kept) sight = sight_of(p, work, tile * kKeys);
#pragma unroll
  for (int j = 0; j < S::kHeadDim / 2; ++j) queries.out[j] = 0;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    queries.max[r] = kNoScore;
    queries.sum[r] = 0;
  }
  shared.k_full[slot.index].wait(slot.parity);
  start_scores<S>(shared, slot.index, queries);
  hopper::wait_for_products<0>();
  hopper::pin(queries.scores);
  release(shared.k_free[slot.index]);
  hide_unseen<S>(p, work, tile, sight, queries);
  float rescale[2];
  (void)take_scores<S>(p, queries, rescale);
  round_weights<S>(queries);
}

/// Scores of `tile`, which is the ring's `number`, while out takes up the weights of the tile
/// before.
template <bool kHides, class S>
__device__ __forceinline__ void step(const Problem& p, const Work& work, int tile,
                                     Shared<S>& shared, int number, Queries<S>& queries) {
  const Slot<S> slot(number);
  const Slot<S> before(number - 1);
  Sight sight;
  if constexpr (kHides) {
    if (tile * kKeys < work.kept) sight = sight_of(p, work, tile * kKeys);
  }
  shared.k_full[slot.index].wait(slot.parity);
  take_turn<S>(queries);
  start_scores<S>(shared, slot.index, queries);
  shared.v_full[before.index].wait(before.parity);
  start_out<S>(shared, before.index, queries);
  pass_turn<S>(queries);

  hopper::wait_for_products<1>();
  hopper::pin(queries.scores);
  release(shared.k_free[slot.index]);
  if constexpr (kHides) hide_unseen<S>(p, work, tile, sight, queries);
  float rescale[2];
  const bool grown = take_scores<S>(p, queries, rescale);
  hopper::pin(queries.scores);
  // Two waits, on either side of a branch: the assembler moves a wait up in a straight line of
  // code, and the softmax would then run after the products and not beside them.
  if (grown) {
    hopper::wait_for_products<0>();
    hopper::pin(queries.out);
    rescale_out<S>(queries, rescale);
  }
  hopper::wait_for_products<0>();
  hopper::pin(queries.out);
  release(shared.v_free[before.index]);
  round_weights<S>(queries);
}

/// out takes up the weights of the unit's last tile, the ring's `number`.
template <class S>
__device__ __forceinline__ void last_step(Shared<S>& shared, int number, Queries<S>& queries) {
  const Slot<S> slot(number);
  shared.v_full[slot.index].wait(slot.parity);
  start_out<S>(shared, slot.index, queries);
  hopper::wait_for_products<0>();
  hopper::pin(queries.out);
  release(shared.v_free[slot.index]);
}

/// out / sum goes to global memory by way of shared memory, in the swizzle of wgmma.cuh, and the
/// log-sum-exp directly. Rows past the batch are left out.
template <class S>
__device__ __forceinline__ void store(const Maps& maps, const Problem& p, const Work& work,
                                      Shared<S>& shared, Queries<S>& queries) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  const int lane = thread % kWarp;
  const int own = thread / kWarp * 16 + lane / 4;  // of the warpgroup's rows, and own + 8
  const int row = work.row + queries.warpgroup * kGroupQueries;
  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = query_sum(queries.sum[r]);
    inverse[r] = sum > 0 ? 1.0F / sum : 0.0F;
    const int i = row + own + 8 * r;
    if (p.lse != nullptr && lane % 4 == 0 && i < p.n) {
      p.lse[int64_t{work.head} * p.n + i] = queries.max[r] * p.scale + log2f(sum);
    }
  }
  if (thread == 0) hopper::wait_until_stores_have_read();  // the unit before
  sync_warpgroup<S>(queries);
  auto* staged = reinterpret_cast<uint32_t*>(shared.out[queries.warpgroup]);
#pragma unroll
  for (int j = 0; j < S::kHeadDim / 2; j += 2) {
    const int r = j / 2 % 2;
    const int piece = j / 4 % 8;  // 16 bytes: what the four threads of the query have of 8 columns
    const int word = j / 32 * (kGroupQueries * kSlab / 2) + (own + 8 * r) * (kSlab / 2) +
                     (piece ^ (own % 8)) * 4 + lane % 4;
    staged[word] = hopper::round_pair<typename S::Element>(queries.out[j] * inverse[r],
                                                           queries.out[j + 1] * inverse[r]);
  }
  hopper::fence_async_proxy();
  sync_warpgroup<S>(queries);
  if (thread == 0) {
#pragma unroll
    for (int slab = 0; slab < S::kSlabs; ++slab) {
      hopper::store_box(maps.out, shared.out[queries.warpgroup][slab], slab * kSlab, work.head,
                        row);
    }
    hopper::commit_stores();
  }
}

/// One warpgroup's queries of all units of this block.
template <class S>
__device__ __forceinline__ void consume(const Maps& maps, const Problem& p, Shared<S>& shared) {
  Queries<S> queries;
  // The same in all lanes, and by way of lane 0 the compiler knows it.
  queries.warpgroup = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroup, 0) - 1;
  if (queries.warpgroup == 0) hopper::named_arrive(1, 2 * kWarpgroup);  // has the first turn
  int number = 0;                                                       // of tiles so far
  for (int round = 0; unit_of(round) < p.units; ++round) {
    const Work work = work_of<S>(p, unit_of(round));
    shared.q_full.wait(round & 1);
    first_step<S>(p, work, shared, number++, queries);
    int tile = work.tiles - 2;
    while (tile >= 0) {
      if (tile >= work.plain_end || tile < work.plain_begin) {
        step<true, S>(p, work, tile--, shared, number++, queries);
        continue;
      }
      for (; tile >= work.plain_begin; --tile) {
        step<false, S>(p, work, tile, shared, number++, queries);
      }
    }
    release(shared.q_free);
    last_step<S>(shared, number - 1, queries);
    store<S>(maps, p, work, shared, queries);
  }
  if (queries.warpgroup == 0) hopper::named_sync(1, 2 * kWarpgroup);  // the last turn is left over
  if (threadIdx.x % kWarpgroup == 0) hopper::wait_until_stores_have_read();
}

}  // namespace winnow::cuda::prefill
