// score[r] += sum over the queries i of the mean over the group of 2^(q_i k_r - lse[i]): what rows
// get of attention. Which is faster for many queries is column_sums_mma.cu; this one takes any type
// and head, and is as fast as memory for the one query of a decode step.
//
// Block (b, h) takes as many rows of KV head h as it has teams (cuda/row_teams.cuh). A team keeps
// its row and walks through all queries that see it, in their order:
//
//   team 0   row r       q_0 heads 0 .. G-1, q_1 heads 0 .. G-1, ...  -> one sum
//   team 1   row r + 1   the same queries, out of the first-level cache
//
// So no two threads add to the same score, and sums are in a fixed order. Bound by the instructions
// where queries are many, and where there is one by reading K: head_dim * sizeof(T) bytes a row.
#include "cuda/check.h"
#include "cuda/column_sums.h"
#include "cuda/row_teams.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Sums {
  TeamRows<T> keys;
  const T* q;        // [n, n_heads, head_dim]
  const float* lse;  // [n_heads, n]
  const int32_t* stopped;
  int64_t n;
  int n_heads;
  float scale;
  bool packs;  // heads of q are whole packs and start on multiples of 16 bytes
};

template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) column_sums_kernel(const Sums<T> s) {
  constexpr int kTeams = kThreads / kLanes;
  if (s.stopped != nullptr && *s.stopped != 0) return;
  const KvRows& kv = s.keys.kv;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t h = blockIdx.y;
  const int64_t first = int64_t{blockIdx.x} * kTeams;
  const int64_t n_rows = kv.visible_to(h, s.n - 1);
  if (first >= n_rows) return;
  const int64_t row = first + threadIdx.x / kLanes;
  const int64_t held = min(row, n_rows - 1);  // all lanes take part in the sums
  const int64_t entry = kv.first[h] + held;
  float k[kTeamDims];
  s.keys.load(h, held, lane, k);
  const uint32_t mask = kv.mask[entry];
  const int place = place_of(kv, entry);
  float sum = 0;
  const int64_t blind = first + 1 - kv.visible_to(h, 0);  // queries that see none of these rows
  for (int64_t i = max(blind, int64_t{0}); i < s.n; ++i) {
    const bool seen = row < kv.visible_to(h, i) && place >= kv.window_start(h, i);
    for (int g = 0; g < s.keys.group; ++g) {
      const int64_t head = h * s.keys.group + g;
      const T* query = s.q + (i * s.n_heads + head) * s.keys.head_dim;
      float q[kTeamDims];
      s.packs ? load_floats<true>(query, lane * kTeamDims, s.keys.head_dim, q)
              : load_floats<false>(query, lane * kTeamDims, s.keys.head_dim, q);
      const float score = lanes_sum<kLanes>(dot(q, k)) * s.scale;
      const float weight = exp2f(score - s.lse[head * s.n + i]);
      sum += seen && ((mask >> g) & 1U) != 0 ? weight : 0.0F;
    }
  }
  if (lane != 0 || row >= n_rows) return;
  kv.score[entry] += sum / static_cast<float>(s.keys.group);
}

}  // namespace

bool column_sums_plain(const ColumnSumArgs& args, Stream stream) {
  const Heads& heads = args.heads;
  with_type(args.type, [&]<class T>(const T*) {
    const Sums<T> sums = {.keys = team_rows<T>(args.kv.k, args.kv, heads, Zones{}),
                          .q = static_cast<const T*>(args.q),
                          .lse = args.lse,
                          .stopped = args.stopped,
                          .n = args.n,
                          .n_heads = static_cast<int>(heads.n_heads),
                          .scale = attention_scale(heads.head_dim),
                          .packs = heads.head_dim % kTeamDims == 0 && aligned16(args.q)};
    with_team(heads.head_dim, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      const dim3 grid(blocks_for(args.kv.capacity, kThreads / kLanes), grid_size(heads.n_kv_heads));
      column_sums_kernel<T, kLanes><<<grid, kThreads, 0, stream>>>(sums);
    });
  });
  check_launch("add_column_sums");
  return true;
}

void add_column_sums(const ColumnSumArgs& args, Stream stream) {
  const bool many = args.n > kFewRows;
  (void)((many && column_sums_mma(args, stream)) || column_sums_plain(args, stream));
}

}  // namespace winnow::cuda
