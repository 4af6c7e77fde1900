// score = -||k||: rows by the length of their keys.
//
// Block (b, h) takes as many rows of KV head h as it has teams (cuda/row_teams.cuh). Bound by
// reading K once: head_dim * sizeof(T) bytes a row.
#include "cuda/check.h"
#include "cuda/row_teams.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int kLanes>
__global__ void key_norms_kernel(const TeamRows<T> keys, ScoreLists lists) {
  constexpr int kTeams = kThreads / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t h = blockIdx.y;
  const int64_t first = int64_t{blockIdx.x} * kTeams;
  const int64_t n_rows = keys.rows[h];
  if (first >= n_rows) return;
  const int64_t row = first + threadIdx.x / kLanes;
  float k[kTeamDims];
  keys.load(h, min(row, n_rows - 1), lane, k);  // all lanes take part in the sum
  const float square = lanes_sum<kLanes>(dot(k, k));
  if (lane != 0 || row >= n_rows) return;
  lists.score[h * lists.stride + row] = keys.seen_by(h, row) != 0 ? -sqrtf(square) : kUnseen;
}

}  // namespace

void key_norms(const KvRows& kv, const Heads& heads, DType type, const Zones& zones,
               const ScoreLists& lists, Stream stream) {
  with_type(type, [&]<class T>(const T*) {
    with_team(heads.head_dim, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      const dim3 grid(blocks_for(zones.max_rows, kThreads / kLanes), grid_size(heads.n_kv_heads));
      key_norms_kernel<T, kLanes>
          <<<grid, kThreads, 0, stream>>>(team_rows<T>(kv.k, kv, heads, zones), lists);
    });
  });
  check_launch("key_norms");
}

}  // namespace winnow::cuda
