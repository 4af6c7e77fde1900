// What is done to lists of scores between scoring and the cut: one thread a row of a list's zone,
// block (b, list) takes rows [begin + b kThreads, ...). Bound by reading and writing the scores.
//
// normalize_scores sums up first: block (p, list) leaves the sum of every kParts-th run of kThreads
// rows, and each block that divides adds all of these up in the same order.
#include "cuda/attention.cuh"
#include "cuda/check.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kParts = 32;  // of a list's sum

struct Zone {
  int begin;
  int end;
};

/// The zone of a list of `per_head` a KV head.
__device__ inline Zone zone_of(const Zones& zones, int list, int per_head) {
  return {zones.begin[list / per_head], zones.end[list / per_head]};
}

/// The thread's row; not below zone.end where it has none.
__device__ inline int64_t row_of(const Zone& zone) {
  return zone.begin + int64_t{blockIdx.x} * kThreads + threadIdx.x;
}

__global__ void score_lists_group_kernel(ScoreLists from, ScoreLists to, GroupScore how, int group,
                                         Zones zones) {
  const int h = static_cast<int>(blockIdx.y);
  const Zone zone = zone_of(zones, h, 1);
  const int64_t row = row_of(zone);
  if (row >= zone.end) return;
  bool seen = false;
  float sum = 0;
  float max = kUnseen;
  for (int64_t head = int64_t{h} * group; head < int64_t{h + 1} * group; ++head) {
    const float score = from.score[head * from.stride + row];
    if (score == kUnseen) continue;
    seen = true;
    sum += score;
    max = fmaxf(max, score);
  }
  float grouped = how == GroupScore::kMean ? sum / static_cast<float>(group) : sum;
  if (how == GroupScore::kMax && !isnan(sum)) grouped = max;
  to.score[h * to.stride + row] = seen ? grouped : kUnseen;
}

__global__ void score_lists_scale_kernel(ScoreLists lists, float add, ScoreLists by, int per_head,
                                         Zones zones) {
  const int list = static_cast<int>(blockIdx.y);
  const Zone zone = zone_of(zones, list, per_head);
  const int64_t row = row_of(zone);
  if (row >= zone.end) return;
  float& score = lists.score[list * lists.stride + row];
  const float factor = by.score[list * by.stride + row];
  if (factor == kUnseen) score = kUnseen;
  if (!isinf(score)) score = (score + add) * factor;
}

__global__ void score_lists_pool_kernel(ScoreLists from, int64_t width, Pool how, ScoreLists to,
                                        int per_head, Zones zones) {
  const int list = static_cast<int>(blockIdx.y);
  const Zone zone = zone_of(zones, list, per_head);
  const int64_t row = row_of(zone);
  if (row >= zone.end) return;
  const float* scores = from.score + list * from.stride;
  const int64_t first = max(row - width / 2, int64_t{zone.begin});
  const int64_t last = min(row + width / 2 + 1, int64_t{zone.end});
  float sum = 0;
  float max = kUnseen;
  for (int64_t r = first; r < last; ++r) {
    const float score = scores[r];
    if (score == kUnseen) continue;
    sum += score;
    max = fmaxf(max, score);
  }
  float pooled = how == Pool::kAverage ? sum / static_cast<float>(width) : max;
  if (isnan(sum)) pooled = sum;
  to.score[list * to.stride + row] = scores[row] == kUnseen ? kUnseen : pooled;
}

/// parts [lists.n, kParts]
__global__ void __launch_bounds__(kThreads)
    score_lists_sum_kernel(ScoreLists lists, int per_head, Zones zones, float* parts) {
  const int list = static_cast<int>(blockIdx.y);
  const Zone zone = zone_of(zones, list, per_head);
  const float* scores = lists.score + list * lists.stride;
  float sum = 0;
  for (int64_t row = row_of(zone); row < zone.end; row += kParts * kThreads) {
    if (scores[row] != kUnseen) sum += scores[row];
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) parts[list * kParts + blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    score_lists_divide_kernel(ScoreLists lists, int per_head, Zones zones, const float* parts) {
  float sum = 0;
  for (int64_t at = threadIdx.x; at < lists.n * kParts; at += kThreads) sum += parts[at];
  sum = block_sum<kThreads>(sum);
  const int list = static_cast<int>(blockIdx.y);
  const Zone zone = zone_of(zones, list, per_head);
  const int64_t row = row_of(zone);
  if (row >= zone.end || sum == 0) return;
  float& score = lists.score[list * lists.stride + row];
  if (score != kUnseen) score /= sum;
}

__global__ void score_lists_promote_kernel(ScoreLists lists, int per_head, Zones zones) {
  const int list = static_cast<int>(blockIdx.y);
  const Zone zone = zone_of(zones, list, per_head);
  const int64_t row = row_of(zone);
  if (row >= zone.end) return;
  float& score = lists.score[list * lists.stride + row];
  if (lists.cut[list].takes(score, row)) score = -kUnseen;
}

dim3 grid_of(const ScoreLists& lists, const Zones& zones) {
  return {blocks_for(zones.max_rows, kThreads), grid_size(lists.n)};
}

int per_head_of(const ScoreLists& lists, int64_t n_kv_heads) {
  return static_cast<int>(lists.n / n_kv_heads);
}

}  // namespace

void group_scores(const ScoreLists& from, GroupScore how, const Zones& zones, const ScoreLists& to,
                  Stream stream) {
  const int group = static_cast<int>(from.n / to.n);
  score_lists_group_kernel<<<grid_of(to, zones), kThreads, 0, stream>>>(from, to, how, group,
                                                                        zones);
  check_launch("group_scores");
}

void scale_scores(const ScoreLists& lists, float add, const ScoreLists& by, const Zones& zones,
                  int64_t n_kv_heads, Stream stream) {
  score_lists_scale_kernel<<<grid_of(lists, zones), kThreads, 0, stream>>>(
      lists, add, by, per_head_of(lists, n_kv_heads), zones);
  check_launch("scale_scores");
}

void pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                 const ScoreLists& to, int64_t n_kv_heads, Stream stream) {
  score_lists_pool_kernel<<<grid_of(from, zones), kThreads, 0, stream>>>(
      from, width, how, to, per_head_of(from, n_kv_heads), zones);
  check_launch("pool_scores");
}

uint64_t normalize_workspace_bytes(int64_t n_lists) {
  return static_cast<uint64_t>(n_lists) * kParts * sizeof(float);
}

void normalize_scores(const ScoreLists& lists, const Zones& zones, int64_t n_kv_heads,
                      void* workspace, Stream stream) {
  auto* parts = static_cast<float*>(workspace);
  const int per_head = per_head_of(lists, n_kv_heads);
  const dim3 grid(kParts, grid_size(lists.n));
  score_lists_sum_kernel<<<grid, kThreads, 0, stream>>>(lists, per_head, zones, parts);
  check_launch("normalize_scores: sum");
  score_lists_divide_kernel<<<grid_of(lists, zones), kThreads, 0, stream>>>(lists, per_head, zones,
                                                                            parts);
  check_launch("normalize_scores");
}

void promote_scores(const Zones& zones, const ScoreLists& lists, int64_t n_kv_heads,
                    Stream stream) {
  score_lists_promote_kernel<<<grid_of(lists, zones), kThreads, 0, stream>>>(
      lists, per_head_of(lists, n_kv_heads), zones);
  check_launch("promote_scores");
}

}  // namespace winnow::cuda
