// The row of each KV head that the next token goes over: that of the least score among those that
// are not recent; and scores as a list. One block a KV head, which reads 8 bytes a row. Bound by
// latency: a budget's rows are few.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kRowThreads = 256;

/// A row, and what it is compared by.
struct Candidate {
  bool spared;  // recent, or its score is NaN
  float score;  // 0 where it is spared
  int place;    // in the text, of which no two rows have the same
  int row;

  __device__ bool before(const Candidate& other) const {
    if (spared != other.spared) return !spared;
    if (score != other.score) return score < other.score;
    return place < other.place;
  }
  __device__ Candidate from_lane(int apart) const {
    return {__shfl_xor_sync(kAllLanes, static_cast<int>(spared), apart) != 0,
            __shfl_xor_sync(kAllLanes, score, apart), __shfl_xor_sync(kAllLanes, place, apart),
            __shfl_xor_sync(kAllLanes, row, apart)};
  }
};

/// The first of a warp's candidates, in every lane.
__device__ Candidate first_of_warp(Candidate candidate) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const Candidate other = candidate.from_lane(apart);
    if (other.before(candidate)) candidate = other;
  }
  return candidate;
}

/// Block (h).
__global__ void __launch_bounds__(kThreads)
    choose_slots_kernel(KvRows kv, const int32_t* position, const int32_t* stopped, int64_t recent,
                        int32_t* slot) {
  __shared__ Candidate warps[kThreads / kWarp];
  if (stopped != nullptr && *stopped != 0) return;
  const int64_t h = blockIdx.x;
  const int64_t entry = kv.first[h];
  const int64_t first_recent = *position - recent;
  const int n_rows = kv.visible[h];
  Candidate best = {true, 0, INT32_MAX, 0};
  for (int row = static_cast<int>(threadIdx.x); row < n_rows; row += kThreads) {
    const float score = kv.score[entry + row];
    const int place = kv.position[entry + row];
    const bool spared = place >= first_recent || isnan(score);
    const Candidate candidate = {spared, spared ? 0.0F : score, place, row};
    if (candidate.before(best)) best = candidate;
  }
  best = first_of_warp(best);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = best;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  constexpr int kWarps = kThreads / kWarp;
  best = first_of_warp(warps[threadIdx.x % kWarps]);
  if (threadIdx.x != 0) return;
  slot[h] = best.row;
  kv.score[entry + best.row] = 0;
}

/// Block (b, h).
__global__ void choose_slots_scores_kernel(KvRows kv, const int32_t* rows, ScoreLists lists) {
  const int64_t h = blockIdx.y;
  const int64_t row = int64_t{blockIdx.x} * kRowThreads + threadIdx.x;
  if (row < rows[h]) lists.score[h * lists.stride + row] = kv.score[kv.first[h] + row];
}

}  // namespace

void choose_slots(const Batch& batch, const KvRows& kv, int64_t n_kv_heads, int64_t recent,
                  int32_t* slot, Stream stream) {
  choose_slots_kernel<<<grid_size(n_kv_heads), kThreads, 0, stream>>>(kv, batch.position,
                                                                      batch.stopped, recent, slot);
  check_launch("choose_slots");
}

void stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists, Stream stream) {
  const dim3 grid(blocks_for(zones.max_rows, kRowThreads), grid_size(lists.n));
  choose_slots_scores_kernel<<<grid, kRowThreads, 0, stream>>>(kv, zones.rows, lists);
  check_launch("stored_scores");
}

}  // namespace winnow::cuda
