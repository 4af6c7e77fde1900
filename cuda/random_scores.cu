// Scores by chance: random_score(seed, query head, position), the same bits as on the CPU.
//
// One thread a score: block (b, head) takes rows [b * kThreads, (b + 1) * kThreads) of a query
// head.
#include "cuda/attention.cuh"
#include "cuda/check.h"
#include "src/kv/random_score.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void random_scores_kernel(uint64_t seed, KvRows kv, int group, const int32_t* rows,
                                     ScoreLists lists) {
  const int head = static_cast<int>(blockIdx.y);
  const int h = head / group;
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= rows[h]) return;
  const int64_t entry = kv.first[h] + row;
  const bool seen = ((kv.mask[entry] >> (head % group)) & 1U) != 0;
  lists.score[head * lists.stride + row] =
      seen ? random_score(seed, head, kv.position[entry]) : kUnseen;
}

}  // namespace

void random_scores(uint64_t seed, const KvRows& kv, const Heads& heads, const Zones& zones,
                   const ScoreLists& lists, Stream stream) {
  const dim3 grid(blocks_for(zones.max_rows, kThreads), grid_size(heads.n_heads));
  random_scores_kernel<<<grid, kThreads, 0, stream>>>(seed, kv, static_cast<int>(heads.group()),
                                                      zones.rows, lists);
  check_launch("random_scores");
}

}  // namespace winnow::cuda
