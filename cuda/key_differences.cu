// score = -cos(k, mean direction of all keys): rows whose keys are unlike the others.
//
//   1. block (b, h): the sum of k / ||k|| over the rows of part b of KV head h. The parts take
//      turns:  | part 0 | part 1 | ... | part kParts-1 | part 0 | ...     a row for each team
//   2. block (h): the sum of the parts, in their order, brought to length 1
//   3. block (b, h): the product of that with k / ||k||, a row for each team
//
// Teams as in cuda/row_teams.cuh. Bound by reading K twice: 2 * head_dim * sizeof(T) bytes a row.
#include "cuda/check.h"
#include "cuda/row_teams.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kParts = 64;
static_assert(kThreads >= kMaxHeadDim);

/// What makes a vector of that length one of length 1; 0 for a length of 0. A NaN stays.
__device__ float inverse_of(float length) {
  return length == 0 ? 0.0F : 1.0F / length;
}

/// parts [n_kv_heads, kParts, head_dim]
template <class T, int kLanes>
__global__ void key_differences_part_kernel(const TeamRows<T> keys, float* parts) {
  constexpr int kTeams = kThreads / kLanes;
  constexpr int kPadded = kLanes * kTeamDims;
  __shared__ float team_sums[kTeams][kPadded];
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int team = static_cast<int>(threadIdx.x) / kLanes;
  const int64_t h = blockIdx.y;
  const int64_t n_rows = keys.rows[h];
  float sum[kTeamDims] = {};
  for (int64_t first = int64_t{blockIdx.x} * kTeams; first < n_rows; first += kParts * kTeams) {
    const int64_t row = first + team;
    float k[kTeamDims];
    keys.load(h, min(row, n_rows - 1), lane, k);  // all lanes take part in the length
    const float inverse = inverse_of(sqrtf(lanes_sum<kLanes>(dot(k, k))));
    if (row >= n_rows) continue;
#pragma unroll
    for (int d = 0; d < kTeamDims; ++d) sum[d] = fmaf(k[d], inverse, sum[d]);
  }
#pragma unroll
  for (int d = 0; d < kTeamDims; ++d) team_sums[team][lane * kTeamDims + d] = sum[d];
  __syncthreads();
  const int d = static_cast<int>(threadIdx.x);
  if (d >= keys.head_dim) return;
  float total = 0;
  for (int t = 0; t < kTeams; ++t) total += team_sums[t][d];
  parts[(h * kParts + blockIdx.x) * keys.head_dim + d] = total;
}

/// parts [n_kv_heads, kParts, head_dim]; direction [n_kv_heads, head_dim]
__global__ void key_differences_direction_kernel(const float* parts, int head_dim,
                                                 float* direction) {
  const int64_t h = blockIdx.x;
  const int d = static_cast<int>(threadIdx.x);
  double sum = 0;
  for (int64_t part = 0; part < kParts && d < head_dim; ++part) {
    sum += static_cast<double>(parts[(h * kParts + part) * head_dim + d]);
  }
  const auto x = static_cast<float>(sum);
  const float square = block_sum<kThreads>(x * x);
  if (d < head_dim) direction[h * head_dim + d] = x * inverse_of(sqrtf(square));
}

/// direction [n_kv_heads, head_dim]
template <class T, int kLanes>
__global__ void key_differences_kernel(const TeamRows<T> keys, const float* direction,
                                       ScoreLists lists) {
  constexpr int kTeams = kThreads / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t h = blockIdx.y;
  const int64_t first = int64_t{blockIdx.x} * kTeams;
  const int64_t n_rows = keys.rows[h];
  if (first >= n_rows) return;
  const int64_t row = first + threadIdx.x / kLanes;
  float k[kTeamDims];
  keys.load(h, min(row, n_rows - 1), lane, k);  // all lanes take part in the sums
  float mean[kTeamDims];
  load_floats<false>(direction + h * keys.head_dim, lane * kTeamDims, keys.head_dim, mean);
  const float inverse = inverse_of(sqrtf(lanes_sum<kLanes>(dot(k, k))));
  const float cosine = lanes_sum<kLanes>(dot(k, mean)) * inverse;
  if (lane != 0 || row >= n_rows) return;
  lists.score[h * lists.stride + row] = keys.seen_by(h, row) != 0 ? -cosine : kUnseen;
}

}  // namespace

uint64_t key_differences_workspace_bytes(const Heads& heads) {
  return static_cast<uint64_t>((kParts + 1) * heads.kv_size()) * sizeof(float);
}

void key_differences(const KvRows& kv, const Heads& heads, DType type, const Zones& zones,
                     const ScoreLists& lists, void* workspace, Stream stream) {
  auto* direction = static_cast<float*>(workspace);
  float* parts = direction + heads.kv_size();
  const unsigned n_heads = grid_size(heads.n_kv_heads);
  const int head_dim = static_cast<int>(heads.head_dim);
  with_type(type, [&]<class T>(const T*) {
    with_team(heads.head_dim, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      const TeamRows<T> keys = team_rows<T>(kv.k, kv, heads, zones);
      const dim3 grid(blocks_for(zones.max_rows, kThreads / kLanes), n_heads);
      key_differences_part_kernel<T, kLanes>
          <<<dim3(kParts, n_heads), kThreads, 0, stream>>>(keys, parts);
      key_differences_direction_kernel<<<n_heads, kThreads, 0, stream>>>(parts, head_dim,
                                                                         direction);
      key_differences_kernel<T, kLanes><<<grid, kThreads, 0, stream>>>(keys, direction, lists);
    });
  });
  check_launch("key_differences");
}

}  // namespace winnow::cuda
