// The KV heads' scores of a row become their mean, for methods that keep the same tokens in all
// heads of a layer.
//
//   head 0   | s[0][r] |      thread r reads down its column of the heads that hold row r,
//   head 1   | s[1][r] |      and writes the mean into each of them
//
// Bound by memory: each score is read and written once, neighbouring threads side by side.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void share_scores_kernel(const int32_t* rows, ScoreLists lists) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  float sum = 0;  // -infinity, once it is that
  int n_holding = 0;
  for (int64_t h = 0; h < lists.n; ++h) {
    if (row >= rows[h]) continue;
    sum += lists.score[h * lists.stride + row];
    ++n_holding;
  }
  for (int64_t h = 0; h < lists.n; ++h) {
    if (row < rows[h]) {
      lists.score[h * lists.stride + row] = sum / static_cast<float>(n_holding);
    }
  }
}

}  // namespace

void share_scores(const Zones& zones, const ScoreLists& lists, Stream stream) {
  share_scores_kernel<<<blocks_for(zones.max_rows, kThreads), kThreads, 0, stream>>>(zones.rows,
                                                                                     lists);
  check_launch("share_scores");
}

}  // namespace winnow::cuda
