// The scores of a run of neighbouring rows become their mean, for methods that keep whole runs.
//
//   a zone   begin | run 0: length rows | run 1 | ... | last run: what is left | end
//                    warp 0               warp 1        lane i: rows i, i + 32, ... of the run
//
// Grid: block (b, list), kWarps runs each. Bound by memory: each score is read and written once.
#include "cuda/attention.cuh"
#include "cuda/check.h"

namespace winnow::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;

__global__ void chunk_scores_kernel(Zones zones, int64_t length, int lists_per_head,
                                    ScoreLists lists) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t list = blockIdx.y;
  const int64_t h = list / lists_per_head;
  const int64_t run = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  const int64_t first = zones.begin[h] + run * length;
  const int64_t end = min(first + length, int64_t{zones.end[h]});
  float* scores = lists.score + list * lists.stride;
  float sum = 0;
  float n_seen = 0;  // exact up to 2^24
  for (int64_t r = first + lane; r < end; r += kWarp) {
    if (scores[r] == kUnseen) continue;
    sum += scores[r];
    n_seen += 1;
  }
  const float mean = lanes_sum(sum) / lanes_sum(n_seen);
  for (int64_t r = first + lane; r < end; r += kWarp) {
    if (scores[r] != kUnseen) scores[r] = mean;
  }
}

}  // namespace

void chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists, int64_t n_kv_heads,
                  Stream stream) {
  const int64_t runs = ceil_div(zones.max_rows, length);
  const dim3 grid(blocks_for(runs, kWarps), grid_size(lists.n));
  chunk_scores_kernel<<<grid, kThreads, 0, stream>>>(zones, length,
                                                     static_cast<int>(lists.n / n_kv_heads), lists);
  check_launch("chunk_scores");
}

}  // namespace winnow::cuda
