// Attention for one query row, or few: the time goes into reading K and V once. This kernel takes
// any type and head; attention_decode_mma.cu is the fast one for the usual ones.
//
// Grid: the rows of a KV head are cut into splits, one block each, whose softmaxes are merged by a
// second kernel. How many splits there are depends on the capacity of the cache, how long they are
// on the rows held now: the launch is the same for every step of a graph.
//
//   split        |      0      |      1      |  ...  |    last     |
//   KV head h    | row 0 .................. visible_to(h, i) - 1 |   (later blocks: nothing)
//
// Block: kLanes neighbouring lanes hold one row, kDims elements each, and are called a team. All
// query heads of a part of the group (kHeads of them) share each row that a team loads, and the
// team keeps kRows rows in flight:
//
//   team 0   row 0, row teams, ...     scores of kHeads heads -> their running softmaxes
//   team 1   row 1, row teams + 1, ...
//
// At the end the teams' softmaxes are merged through shared memory, in the order of the teams.
// Bound by memory: 2 * head_dim * sizeof(T) bytes a row.
#include <algorithm>

#include "cuda/attention.cuh"
#include "cuda/check.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kDims = 8;                // elements of a row that a lane holds
constexpr int64_t kMaxSplits = 128;     // of one KV head
constexpr int64_t kTargetBlocks = 256;  // over all heads: about two for every multiprocessor
constexpr int64_t kMinSplitRows = 64;
constexpr int kMaxHeads = 8;  // query heads that share a load

/// Rows that a team keeps in flight: 64 bytes of keys and of values a lane.
template <class T>
constexpr int kRows = 8 / static_cast<int>(sizeof(T));

/// The softmax of one split, not yet divided by its sum: workspace of the merge.
///   out [n, n_heads, n_splits, head_dim]   max, sum [n, n_heads, n_splits]
struct Partials {
  float* out;
  float* max;
  float* sum;
  int n_splits;

  __device__ int64_t index(int64_t query, int split) const { return query * n_splits + split; }
};

struct Range {
  int64_t begin;
  int64_t end;
};

/// The rows of a split; empty for the last ones where rows are few.
__device__ Range split_range(int64_t n_rows, int split, int n_splits) {
  const int64_t length = ceil_div(ceil_div(n_rows, n_splits), kMinSplitRows) * kMinSplitRows;
  const int64_t begin = min(split * length, n_rows);
  return {begin, min(begin + length, n_rows)};
}

/// A lane's part of the rows that its team has in flight.
template <class T>
struct Rows {
  float k[kRows<T>][kDims];
  float v[kRows<T>][kDims];
  uint32_t mask[kRows<T>];  // 0 for rows past the end
};

/// Rows row, row + stride, ... of the head whose row 0 is `entry`; those from range.end on are
/// hidden, and stood in for by range.begin, which exists. So are those before the window, which
/// begins at place `start`.
template <bool kPacks, class T>
__device__ void load_rows(const Attention<T>& a, int64_t entry, int64_t row, int stride,
                          Range range, int start, int first_dim, Rows<T>& to) {
#pragma unroll
  for (int u = 0; u < kRows<T>; ++u, row += stride) {
    const bool inside = row < range.end;
    const int64_t at = entry + (inside ? row : range.begin);
    to.mask[u] = inside && place_of(a.kv, at) >= start ? a.kv.mask[at] : 0;
    load_floats<kPacks>(a.k + at * a.head_dim, first_dim, a.head_dim, to.k[u]);
    load_floats<kPacks>(a.v + at * a.head_dim, first_dim, a.head_dim, to.v[u]);
  }
}

/// A lane's share of one query's running softmax.
struct Softmax {
  float max = kUnseen;
  float sum = 0;
  float out[kDims] = {};
};

/// N more rows. scores [N], kUnseen for hidden rows; v [N, kDims]
template <int N>
__device__ void take_rows(Softmax& s, const float (&scores)[N], const float (&v)[N][kDims]) {
  float max = s.max;
#pragma unroll
  for (int u = 0; u < N; ++u) max = fmaxf(max, scores[u]);
  const float rescale = exp2f(s.max - base_of(max));
  s.max = max;
  s.sum *= rescale;
#pragma unroll
  for (int d = 0; d < kDims; ++d) s.out[d] *= rescale;
#pragma unroll
  for (int u = 0; u < N; ++u) {
    const float weight = exp2f(scores[u] - base_of(max));
    s.sum += weight;
#pragma unroll
    for (int d = 0; d < kDims; ++d) s.out[d] = fmaf(weight, v[u][d], s.out[d]);
  }
}

/// Brings the softmaxes of all teams together and leaves them in `partials`, from the first query
/// head's index on.
template <int kLanes, int kHeads>
__device__ void merge_teams(const Softmax (&mine)[kHeads], int head_dim, int n_heads,
                            const Partials& partials, int64_t first_index) {
  constexpr int kTeams = kThreads / kLanes;
  constexpr int kPadded = kLanes * kDims;
  __shared__ float out[kTeams][kHeads][kPadded];
  __shared__ float max[kTeams][kHeads];
  __shared__ float sum[kTeams][kHeads];
  const int team = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
#pragma unroll
  for (int j = 0; j < kHeads; ++j) {
    for (int d = 0; d < kDims; ++d) out[team][j][lane * kDims + d] = mine[j].out[d];
    max[team][j] = mine[j].max;
    sum[team][j] = mine[j].sum;
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < n_heads * head_dim; at += kThreads) {
    const int j = at / head_dim;
    const int d = at % head_dim;
    float greatest = kUnseen;
    for (int t = 0; t < kTeams; ++t) greatest = fmaxf(greatest, max[t][j]);
    float total = 0;
    float value = 0;
    for (int t = 0; t < kTeams; ++t) {
      const float rescale = exp2f(max[t][j] - base_of(greatest));
      total += sum[t][j] * rescale;
      value += out[t][j][d] * rescale;
    }
    const int64_t index = first_index + int64_t{j} * partials.n_splits;
    partials.out[index * head_dim + d] = value;
    if (d == 0) partials.max[index] = greatest;
    if (d == 0) partials.sum[index] = total;
  }
}

/// Block (split, h * parts + part, i): rows of the split of KV head h, for query heads
/// [part * kHeads, ...) of its group, batch row i.
template <class T, int kLanes, int kHeads>
__global__ void __launch_bounds__(kThreads)
    attention_decode_kernel(const Attention<T> a, Partials partials) {
  constexpr int kTeams = kThreads / kLanes;
  const int parts = static_cast<int>(ceil_div(a.group, kHeads));
  const int h = static_cast<int>(blockIdx.y) / parts;
  const int first_head = static_cast<int>(blockIdx.y) % parts * kHeads;
  const int n_heads = min(kHeads, a.group - first_head);
  const int64_t i = blockIdx.z;
  const int team = static_cast<int>(threadIdx.x) / kLanes;
  const int first_dim = static_cast<int>(threadIdx.x) % kLanes * kDims;

  float q[kHeads][kDims] = {};
#pragma unroll
  for (int j = 0; j < kHeads; ++j) {
    if (j >= n_heads) continue;
    const T* query = a.q + a.query_offset(h, i, first_head + j);
    load_floats<false>(query, first_dim, a.head_dim, q[j]);
    for (float& value : q[j]) value *= a.scale;
  }

  Softmax softmax[kHeads];
  const Range range = split_range(a.kv.visible_to(h, i), blockIdx.x, partials.n_splits);
  const int start = a.kv.window_start(h, i);
  for (int64_t row = range.begin; row < range.end; row += kTeams * kRows<T>) {
    Rows<T> rows;
    a.packs ? load_rows<true>(a, a.kv.first[h], row + team, kTeams, range, start, first_dim, rows)
            : load_rows<false>(a, a.kv.first[h], row + team, kTeams, range, start, first_dim, rows);
#pragma unroll
    for (int j = 0; j < kHeads; ++j) {
      float scores[kRows<T>];
#pragma unroll
      for (int u = 0; u < kRows<T>; ++u) {
        const float score = lanes_sum<kLanes>(dot(q[j], rows.k[u]));
        scores[u] = ((rows.mask[u] >> (first_head + j)) & 1U) != 0 ? score : kUnseen;
      }
      take_rows(softmax[j], scores, rows.v);
    }
  }
  const int64_t query = i * a.n_heads + h * a.group + first_head;
  merge_teams<kLanes, kHeads>(softmax, a.head_dim, n_heads, partials,
                              partials.index(query, static_cast<int>(blockIdx.x)));
}

/// Block (head, i): the splits of one query, in their order, divided by their sum.
/// lse [n_heads, n] or null
template <class T>
__global__ void attention_decode_merge_kernel(Partials partials, int head_dim, T* out, float* lse) {
  const int64_t query = int64_t{blockIdx.y} * gridDim.x + blockIdx.x;
  const float* max = partials.max + partials.index(query, 0);
  const float* sum = partials.sum + partials.index(query, 0);
  const float* parts = partials.out + partials.index(query, 0) * head_dim;
  float greatest = kUnseen;
  for (int s = 0; s < partials.n_splits; ++s) greatest = fmaxf(greatest, max[s]);
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kThreads) {
    float total = 0;
    float value = 0;
#pragma unroll 4
    for (int s = 0; s < partials.n_splits; ++s) {
      const float rescale = exp2f(max[s] - base_of(greatest));
      total += sum[s] * rescale;
      value += parts[int64_t{s} * head_dim + d] * rescale;
    }
    out[query * head_dim + d] = from_float<T>(total > 0 ? value / total : 0.0F);
    if (d > 0 || lse == nullptr) continue;
    lse[int64_t{blockIdx.x} * gridDim.y + blockIdx.y] = greatest + log2f(total);
  }
}

/// Query heads that share a load: the group, or as much of it as registers hold.
int64_t heads_per_block(int64_t group) {
  return group == 1 ? 1 : (group <= 4 ? 4 : kMaxHeads);
}

int64_t most_splits(const Heads& heads) {
  const int64_t blocks = heads.n_kv_heads * ceil_div(heads.group(), heads_per_block(heads.group()));
  return std::clamp<int64_t>(kTargetBlocks / blocks, 1, kMaxSplits);
}

Partials cut_workspace(void* workspace, const Heads& heads, int64_t n, int64_t n_splits) {
  auto* out = static_cast<float*>(workspace);
  const int64_t queries = n * heads.n_heads * n_splits;
  float* max = out + queries * heads.head_dim;
  return {out, max, max + queries, static_cast<int>(n_splits)};
}

template <class T, int kLanes>
void launch(const AttentionArgs& args, const Partials& partials, Stream stream) {
  const Attention<T> a = attention_of<T>(args);
  const int64_t kHeads = heads_per_block(args.heads.group());
  const dim3 grid(grid_size(partials.n_splits),
                  grid_size(args.heads.n_kv_heads * ceil_div(args.heads.group(), kHeads)),
                  grid_size(args.n));
  switch (kHeads) {
    case 1:
      attention_decode_kernel<T, kLanes, 1><<<grid, kThreads, 0, stream>>>(a, partials);
      break;
    case 4:
      attention_decode_kernel<T, kLanes, 4><<<grid, kThreads, 0, stream>>>(a, partials);
      break;
    default:
      attention_decode_kernel<T, kLanes, kMaxHeads><<<grid, kThreads, 0, stream>>>(a, partials);
  }
}

}  // namespace

uint64_t attention_decode_workspace_bytes(const Heads& heads, int64_t n) {
  const int64_t floats = n * heads.n_heads * most_splits(heads) * (heads.head_dim + 2);
  return static_cast<uint64_t>(floats) * sizeof(float);
}

void attention_decode(const AttentionArgs& args, Stream stream) {
  if (attention_decode_mma(args, stream)) return;
  const Heads& heads = args.heads;
  const int64_t useful = std::max<int64_t>(1, ceil_div(args.kv.capacity, kMinSplitRows));
  const int64_t n_splits = std::min(most_splits(heads), useful);
  const Partials partials = cut_workspace(args.workspace, heads, args.n, n_splits);
  with_type(args.type, [&]<class T>(const T*) {
    const int64_t lanes = ceil_div(heads.head_dim, kDims);
    if (lanes <= 8) {
      launch<T, 8>(args, partials, stream);
    } else if (lanes <= 16) {
      launch<T, 16>(args, partials, stream);
    } else {
      launch<T, 32>(args, partials, stream);
    }
    check_launch("attention_decode");
    const dim3 grid(grid_size(heads.n_heads), grid_size(args.n));
    attention_decode_merge_kernel<<<grid, kThreads, 0, stream>>>(
        partials, static_cast<int>(heads.head_dim), static_cast<T*>(args.out), args.lse);
    check_launch("attention_decode: merge");
  });
}

}  // namespace winnow::cuda
