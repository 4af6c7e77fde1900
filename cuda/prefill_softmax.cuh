// attention_prefill_sm90.cu: the running softmax of the 64 queries of a warpgroup, in registers.
//
// A thread holds parts of two queries, rows r and r + 8 of wgmma.cuh's picture; four neighbouring
// threads share a query. Element j of the scores belongs to query j / 2 % 2 and to column
// column_of(j) + 2 * (lane % 4) of the tile. Per thread and tile of 128 keys that is, for the 64
// scores: 64 maxima, 64 multiply-adds, 64 exponentials, 64 sums, 32 roundings.
#pragma once

#include "cuda/prefill_tiles.cuh"
#include "cuda/wgmma.cuh"

namespace winnow::cuda::prefill {

constexpr int kScores = kKeys / 2;  // of a thread
constexpr float kNoScore = -1e30F;  // the greatest of no scores: finite, so that no NaN arises

/// What a thread holds of its warpgroup's queries.
template <class S>
struct Queries {
  int warpgroup;                    // of those that multiply
  float scores[kScores];            // of the tile at work; then weights, 2^(scale (score - max))
  uint32_t weights[kKeys / 16][4];  // of the tile before, as pairs of T: A of wgmma.cuh
  float out[S::kHeadDim / 2];       // the sum of weight * v so far
  float max[2];                     // the score that weights are taken from
  float sum[2];                     // of this thread's weights
};

/// The column of score j for the first of the four threads of a query.
__device__ constexpr int column_of(int j) {
  return j / 4 * 8 + j % 2;
}

/// Bit c % 32 of word c / 32: whether the query head sees column c of a tile of kept rows.
struct Sight {
  uint32_t word[kKeys / 32];
};

/// By a warp together. Rows from work.kept on are seen by all.
__device__ __forceinline__ Sight sight_of(const Problem& p, const Work& work, int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int bit = work.head % p.group;
  Sight sight;
#pragma unroll
  for (int w = 0; w < kKeys / 32; ++w) {
    const int row = first_row + 32 * w + lane;
    const uint32_t mask = row < work.kept ? __ldg(p.mask + work.entry + row) : kSeenByAll;
    sight.word[w] = __ballot_sync(kAllLanes, ((mask >> bit) & 1U) != 0);
  }
  return sight;
}

/// Scores of columns that a query does not see become -infinity.
/// seen: columns of this tile that the thread's two queries see, masks aside
__device__ __forceinline__ void hide_later_rows(float (&scores)[kScores], const int (&seen)[2]) {
  const int shift = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int j = 0; j < kScores; ++j) {
    if (column_of(j) >= seen[j / 2 % 2] - shift) scores[j] = -INFINITY;
  }
}
__device__ __forceinline__ void hide_masked_rows(float (&scores)[kScores], const Sight& sight) {
  const int shift = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int j = 0; j < kScores; ++j) {
    const uint32_t word = sight.word[column_of(j) / 32] >> shift;
    if (((word >> column_of(j) % 32) & 1U) == 0) scores[j] = -INFINITY;
  }
}

/// The four threads of a query: the greatest of their values, or the sum, in each.
__device__ __forceinline__ float query_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}
__device__ __forceinline__ float query_sum(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}

/// Scores become weights and are summed. Returns whether the warp must multiply `out` by `rescale`,
/// because a maximum has grown: so much that the weights from the one before might become too great
/// (2^slack), and in that case only, for the result is the same from whatever score they are taken.
template <class S>
__device__ __forceinline__ bool take_scores(const Problem& p, Queries<S>& queries,
                                            float (&rescale)[2]) {
  float greatest[2] = {queries.max[0], queries.max[1]};
#pragma unroll
  for (int j = 0; j < kScores; j += 2) {
    const int r = j / 2 % 2;
    greatest[r] = fmaxf(greatest[r], fmaxf(queries.scores[j], queries.scores[j + 1]));
  }
  bool grown = false;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    greatest[r] = query_max(greatest[r]);
    grown = grown || (greatest[r] - queries.max[r]) * p.scale > p.slack;
  }
  grown = __any_sync(kAllLanes, grown) != 0;
  if (grown) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      rescale[r] = hopper::fast_exp2((queries.max[r] - greatest[r]) * p.scale);
      queries.max[r] = greatest[r];
      queries.sum[r] *= rescale[r];
    }
  }
  const float base[2] = {queries.max[0] * p.scale, queries.max[1] * p.scale};
#pragma unroll
  for (int j = 0; j < kScores; j += 2) {
    const int r = j / 2 % 2;
    const float left = hopper::fast_exp2(fmaf(queries.scores[j], p.scale, -base[r]));
    const float right = hopper::fast_exp2(fmaf(queries.scores[j + 1], p.scale, -base[r]));
    queries.sum[r] += left + right;
    queries.scores[j] = left;
    queries.scores[j + 1] = right;
  }
  return grown;
}

template <class S>
__device__ __forceinline__ void rescale_out(Queries<S>& queries, const float (&rescale)[2]) {
#pragma unroll
  for (int j = 0; j < S::kHeadDim / 2; ++j) queries.out[j] *= rescale[j / 2 % 2];
}

/// The weights of 16 columns are the A of one product, see wgmma.cuh.
template <class S>
__device__ __forceinline__ void round_weights(Queries<S>& queries) {
#pragma unroll
  for (int i = 0; i < kScores / 2; ++i) {
    queries.weights[i / 4][i % 4] =
        hopper::round_pair<typename S::Element>(queries.scores[2 * i], queries.scores[2 * i + 1]);
  }
}

}  // namespace winnow::cuda::prefill
