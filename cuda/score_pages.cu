// What pages a decode step reads (src/kv/quest.h): their scores, and the masks that say it.
//
//   score[head][p] = sum over d of max(q_d m_d, q_d M_d)     m, M: the page's least, greatest keys
//
//   1. block (b, h): as many pages of KV head h as it has teams, a page's m and M spread over the
//      lanes of a team as a row is in cuda/row_teams.cuh; they are read once for the whole group
//   2. top_k() cuts each query head's list of pages
//   3. block (b, h): a thread for each row, whose mask loses the query heads that pass over its
//   page
//
// Bound by reading the pages: 2 * head_dim * sizeof(T) bytes for each 16 rows.
#include "cuda/check.h"
#include "cuda/row_teams.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

__device__ int pages_for(int rows) {
  return static_cast<int>(ceil_div(rows, kPageRows));
}

template <class T>
struct Scoring {
  const T* q;  // [n_heads, head_dim]
  KvRows kv;
  int n_kv_heads;
  int group;
  int head_dim;
  bool packs;  // heads of q and pages are whole packs and start on multiples of 16 bytes

  /// A lane's elements of a row of q or of a page; zeros past the head.
  __device__ void load(const T* row, int lane, float (&to)[kTeamDims]) const {
    const int first = lane * kTeamDims;
    packs ? load_floats<true>(row, first, head_dim, to)
          : load_floats<false>(row, first, head_dim, to);
    if (first < head_dim) return;
#pragma unroll
    for (float& x : to) x = 0;
  }
};

template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) score_pages_kernel(const Scoring<T> s) {
  constexpr int kTeams = kThreads / kLanes;
  const KvPages& pages = s.kv.pages;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int h = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(blockIdx.x) * kTeams;
  const int n = pages_for(s.kv.visible[h]) - 1;  // without the last one
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    pages.zone[h] = 0;
    pages.zone[s.n_kv_heads + h] = n;
    pages.zone[2 * s.n_kv_heads + h] = static_cast<int32_t>(pages.n_read - 1);
  }
  if (first >= n) return;
  const int page = first + static_cast<int>(threadIdx.x) / kLanes;
  const int64_t row = min(page, n - 1) * kPageRows;  // all lanes take part in the sums
  const T* keys = static_cast<const T*>(pages.keys) + s.kv.page_of(h, row) * 2 * s.head_dim;
  float least[kTeamDims], greatest[kTeamDims];
  s.load(keys, lane, least);
  s.load(keys + s.head_dim, lane, greatest);
  const int64_t last = s.kv.first[h] + row + kPageRows - 1;
  const bool inside = s.kv.in_window(last, s.kv.window_start(h, 0));
  for (int g = 0; g < s.group; ++g) {
    const int64_t head = int64_t{h} * s.group + g;
    float q[kTeamDims];
    s.load(s.q + head * s.head_dim, lane, q);
    float sum = 0;
#pragma unroll
    for (int d = 0; d < kTeamDims; ++d) sum += fmaxf(q[d] * least[d], q[d] * greatest[d]);
    sum = lanes_sum<kLanes>(sum);
    if (lane == 0 && page < n) pages.score[head * pages.stride + page] = inside ? sum : kUnseen;
  }
}

__global__ void __launch_bounds__(kThreads) score_pages_mask_kernel(KvRows kv, int group) {
  const KvPages& pages = kv.pages;
  const int h = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (row >= kv.visible[h]) return;
  const int page = row / static_cast<int>(kPageRows);
  uint32_t readers = page == pages_for(kv.visible[h]) - 1 ? kSeenByAll : 0;
  for (int g = 0; g < group && readers != kSeenByAll; ++g) {
    const int64_t head = int64_t{h} * group + g;
    const float score = pages.score[head * pages.stride + page];
    if (pages.cut[head].takes(score, page)) readers |= 1U << g;
  }
  pages.mask[kv.first[h] + row] = kv.mask[kv.first[h] + row] & readers;
}

}  // namespace

void score_pages(const void* q, const KvRows& kv, const Heads& heads, DType type, Stream stream) {
  const bool packs = heads.head_dim % kTeamDims == 0 && aligned16(q) && aligned16(kv.pages.keys);
  with_type(type, [&]<class T>(const T*) {
    const Scoring<T> scoring = {.q = static_cast<const T*>(q),
                                .kv = kv,
                                .n_kv_heads = static_cast<int>(heads.n_kv_heads),
                                .group = static_cast<int>(heads.group()),
                                .head_dim = static_cast<int>(heads.head_dim),
                                .packs = packs};
    with_team(heads.head_dim, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      const dim3 grid(blocks_for(kv.pages.stride, kThreads / kLanes), grid_size(heads.n_kv_heads));
      score_pages_kernel<T, kLanes><<<grid, kThreads, 0, stream>>>(scoring);
    });
  });
  check_launch("score_pages");
}

void mask_pages(const KvRows& kv, const Heads& heads, Stream stream) {
  const dim3 grid(blocks_for(kv.capacity, kThreads), grid_size(heads.n_kv_heads));
  score_pages_mask_kernel<<<grid, kThreads, 0, stream>>>(kv, static_cast<int>(heads.group()));
  check_launch("mask_pages");
}

}  // namespace winnow::cuda
