// The softmaxes of a group's query heads become one score a row.
//
//   1. block (head): max and sum of e^(score - max) over the rows of a query head, in a fixed order
//   2. block (b, h): rows [b * kRowThreads, ...) of KV head h, one a thread:
//      weight = e^(score - max) / sum for each query head of the group; their mean, max or sum
//
// A score of -infinity is a row that the query head does not see: its weight is 0. Bound by reading
// the scores: the first kernel does it twice, the second finds most of them in the cache.
#include "cuda/attention.cuh"
#include "cuda/check.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 1024;  // of a query head
constexpr int kRowThreads = 256;
constexpr int kWidth = 4;  // neighbouring scores that a thread reads at once

/// What makes a list of scores a softmax.
struct Softmax {
  float max;      // -infinity where no row is seen
  float inverse;  // 1 / sum; 0 where no row is seen, NaN where a score is NaN or +infinity

  __device__ float weight(float score) const {
    return score == kUnseen ? 0.0F : expf(score - max) * inverse;
  }
};

/// Calls f(score) for this thread's share of scores [0, n), in order.  scores [n], and readable up
/// to a multiple of kWidth
template <class F>
__device__ void for_scores(const float* scores, int64_t n, F&& f) {
#pragma unroll 4
  for (int64_t r = int64_t{threadIdx.x} * kWidth; r < n; r += kThreads * kWidth) {
    const auto pack = load_pack<kWidth>(scores + r);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) f(r + e < n ? pack.value[e] : kUnseen);
  }
}

/// The greatest value of the block, in every thread. To be called by all, and once in a kernel.
__device__ float block_max(float value) {
  __shared__ float warps[kThreads / kWarp];
  value = warp_max(value);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  return warp_max(warps[threadIdx.x % kWarp]);
}
static_assert(kThreads / kWarp == kWarp);

/// from.score [n_heads, stride]; rows [n_kv_heads]; softmaxes [n_heads]
__global__ void __launch_bounds__(kThreads)
    combine_scores_softmax_kernel(ScoreLists from, int group, const int32_t* rows,
                                  Softmax* softmaxes) {
  const int64_t head = blockIdx.x;
  const float* scores = from.score + head * from.stride;
  const int64_t n = rows[head / group];
  float most = kUnseen;
  for_scores(scores, n, [&](float score) { most = fmaxf(most, score); });
  const float max = block_max(most);
  float part = 0;
  for_scores(scores, n, [&](float score) { part += score == kUnseen ? 0.0F : expf(score - max); });
  const float sum = block_sum<kThreads>(part);
  if (threadIdx.x == 0) softmaxes[head] = {max, sum == 0 ? 0.0F : 1.0F / sum};
}

/// from.score [n_heads, stride]; to.score [n_kv_heads, stride]; softmaxes [n_heads]
__global__ void combine_scores_kernel(ScoreLists from, ScoreLists to, GroupScore how, int group,
                                      const int32_t* rows, const Softmax* softmaxes) {
  const int64_t h = blockIdx.y;
  const int64_t row = int64_t{blockIdx.x} * kRowThreads + threadIdx.x;
  if (row >= rows[h]) return;
  bool seen = false;
  float sum = 0;
  float max = 0;
  for (int64_t head = h * group; head < (h + 1) * group; ++head) {
    const float score = from.score[head * from.stride + row];
    const float weight = softmaxes[head].weight(score);
    seen = seen || score != kUnseen;
    sum += weight;
    max = fmaxf(max, weight);
  }
  float combined = how == GroupScore::kMean ? sum / static_cast<float>(group) : sum;
  if (how == GroupScore::kMax && !isnan(sum)) combined = max;
  to.score[h * to.stride + row] = seen ? combined : kUnseen;
}

}  // namespace

uint64_t combine_workspace_bytes(int64_t n_heads) {
  return static_cast<uint64_t>(n_heads) * sizeof(Softmax);
}

void combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                    const ScoreLists& to, void* workspace, Stream stream) {
  auto* softmaxes = static_cast<Softmax*>(workspace);
  const int group = static_cast<int>(from.n / to.n);
  combine_scores_softmax_kernel<<<grid_size(from.n), kThreads, 0, stream>>>(from, group, zones.rows,
                                                                            softmaxes);
  check_launch("combine_scores: softmax");
  const dim3 grid(blocks_for(zones.max_rows, kRowThreads), grid_size(to.n));
  combine_scores_kernel<<<grid, kRowThreads, 0, stream>>>(from, to, how, group, zones.rows,
                                                          softmaxes);
  check_launch("combine_scores");
}

}  // namespace winnow::cuda
