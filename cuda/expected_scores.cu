// What attention rows are to expect from the tokens to come; the formulas are at
// Device::expected_scores.
//
//   1. thread (pair i, pair j) of a head: mean and covariance out of the sums, turned by the mean
//      rotation R: 2 x 2 elements of C' = R C R^T become R_i (2 x 2) R_j^T. Stored are
//      m' / sqrt(head_dim) and C' / (2 head_dim), so that z = (m + C k) k
//   2. block (b, h): z of kRows rows of KV head h for each query head of the group. K lies in
//      shared memory, turned round, for all of them; C comes by slices:
//
//        K [kRows, head_dim]  x  C [kDepth of head_dim, kCols]  ->  C k [kRows, kCols]
//        threads 16 x 16: each has 4 rows and 2 x 4 columns of C k, which it multiplies with its
//        elements of K; 16 lanes add up their columns
//   3. combine_scores(): softmax over the rows, mean over the group
//   4. a team a row (cuda/row_teams.cuh): (weight + epsilon) ||v||
//
// Bound by fp32 arithmetic in step 2: head_dim^2 multiply-adds a row and query head.
#include "cuda/check.h"
#include "cuda/rope.cuh"
#include "cuda/row_teams.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 64;
constexpr int kCols = 128;
constexpr int kDepth = 16;
constexpr int kStride = kRows + 4;  // of K in shared memory: whole packs, few bank conflicts
constexpr int kSide = 4;            // rows of a thread, and neighbouring columns
static_assert(kThreads == kRows / kSide * (kCols / (2 * kSide)));

/// What the queries to come are like, for kernels.
struct Expected {
  float* mean;        // [n_heads, head_dim]: m' / sqrt(head_dim)
  float* covariance;  // [n_heads, head_dim, head_dim]: C' / (2 head_dim)
};

/// R_i (low, high)
__device__ Pair<double> turned(Pair<double> x, const MeanRotation& by, int i) {
  const double cosine = by.cosine[i];
  const double sine = by.sine[i];
  return {x.low * cosine - x.high * sine, x.high * cosine + x.low * sine};
}

/// share: 1 over the number of queries
__global__ void expected_scores_query_kernel(QueryStatistics statistics, double share, int head_dim,
                                             const __grid_constant__ MeanRotation by, Expected to) {
  const int half = head_dim / 2;
  const int at = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (at >= half * half) return;
  const int64_t d = head_dim;
  const int64_t head = blockIdx.y;
  const int i = at / half;
  const int j = at % half;
  const float* sum = statistics.sum + head * d;
  const float* products = statistics.products + head * d * d;
  const auto mean_of = [&](int pair) {
    return Pair<double>{sum[pair] * share, sum[half + pair] * share};
  };
  const Pair<double> mean_i = mean_of(i);
  const Pair<double> mean_j = mean_of(j);
  // Row i of C, and row half + i, at columns j and half + j.
  const auto row_of = [&](int row, double mean) {
    return Pair<double>{products[row * d + j] * share - mean * mean_j.low,
                        products[row * d + half + j] * share - mean * mean_j.high};
  };
  const Pair<double> low = turned(row_of(i, mean_i.low), by, j);
  const Pair<double> high = turned(row_of(half + i, mean_i.high), by, j);
  const Pair<double> at_low = turned({low.low, high.low}, by, i);     // column j
  const Pair<double> at_high = turned({low.high, high.high}, by, i);  // column half + j
  float* covariance = to.covariance + head * d * d;
  const double scale = 1.0 / (2.0 * head_dim);
  covariance[i * d + j] = static_cast<float>(at_low.low * scale);
  covariance[(half + i) * d + j] = static_cast<float>(at_low.high * scale);
  covariance[i * d + half + j] = static_cast<float>(at_high.low * scale);
  covariance[(half + i) * d + half + j] = static_cast<float>(at_high.high * scale);
  if (j != 0) return;
  const Pair<double> mean = turned(mean_i, by, i);
  const double root = sqrt(static_cast<double>(head_dim));
  to.mean[head * d + i] = static_cast<float>(mean.low / root);
  to.mean[head * d + half + i] = static_cast<float>(mean.high / root);
}

/// Rows [first, first + kRows) of KV head h, turned round; zeros past the rows and the head.
/// to [padded, kStride]
template <class T>
__device__ void load_keys(const TeamRows<T>& keys, int64_t h, int64_t first, int padded,
                          float* to) {
  const int64_t n_rows = keys.rows[h];
  const T* from = keys.data + (keys.kv.first[h] + first) * keys.head_dim;
  for (int at = static_cast<int>(threadIdx.x); at < kRows * padded; at += kThreads) {
    const int r = at / padded;
    const int d = at % padded;
    const bool exists = first + r < n_rows && d < keys.head_dim;
    to[d * kStride + r] = exists ? to_float(from[r * keys.head_dim + d]) : 0.0F;
  }
}

/// Rows [depth, depth + kDepth) of a matrix at columns [col, col + kCols); zeros past its ends.
/// matrix [head_dim, head_dim]; to [kDepth, kCols]
__device__ void load_slice(const float* matrix, int head_dim, int depth, int col, float* to) {
#pragma unroll
  for (int at = static_cast<int>(threadIdx.x); at < kDepth * kCols; at += kThreads) {
    const int i = depth + at / kCols;
    const int j = col + at % kCols;
    to[at] = i < head_dim && j < head_dim ? matrix[int64_t{i} * head_dim + j] : 0.0F;
  }
}

/// sums += 4 rows of K at kDepth elements x those rows of the slice, at a thread's columns.
/// keys [kDepth, kStride], from the thread's rows on; slice [kDepth, kCols], from its columns on
__device__ void multiply_slice(const float* keys, const float* slice,
                               float (&sums)[kSide][2 * kSide]) {
#pragma unroll
  for (int i = 0; i < kDepth; ++i) {
    const auto k = load_pack<kSide>(keys + i * kStride);
    const auto low = load_pack<kSide>(slice + i * kCols);
    const auto high = load_pack<kSide>(slice + i * kCols + kCols / 2);
#pragma unroll
    for (int r = 0; r < kSide; ++r) {
#pragma unroll
      for (int c = 0; c < kSide; ++c) {
        sums[r][c] = fmaf(k.value[r], low.value[c], sums[r][c]);
        sums[r][kSide + c] = fmaf(k.value[r], high.value[c], sums[r][kSide + c]);
      }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    expected_scores_logits_kernel(const TeamRows<T> keys, const Expected expected, int padded,
                                  ScoreLists logits) {
  extern __shared__ float4 memory[];
  __shared__ __align__(16) float slice[kDepth * kCols];
  auto* k = reinterpret_cast<float*>(memory);  // [padded, kStride]
  const int64_t h = blockIdx.y;
  const int64_t first = int64_t{blockIdx.x} * kRows;
  if (first >= keys.rows[h]) return;
  const int lane = static_cast<int>(threadIdx.x) % (kCols / (2 * kSide));
  const int row = static_cast<int>(threadIdx.x) / (kCols / (2 * kSide)) * kSide;
  const int head_dim = keys.head_dim;
  load_keys(keys, h, first, padded, k);

  for (int g = 0; g < keys.group; ++g) {
    const int64_t head = h * keys.group + g;
    const float* mean = expected.mean + head * head_dim;
    const float* covariance = expected.covariance + head * head_dim * head_dim;
    float z[kSide] = {};
    for (int col = 0; col < head_dim; col += kCols) {
      float sums[kSide][2 * kSide] = {};
      for (int depth = 0; depth < head_dim; depth += kDepth) {
        __syncthreads();
        load_slice(covariance, head_dim, depth, col, slice);
        __syncthreads();
        multiply_slice(k + depth * kStride + row, slice + lane * kSide, sums);
      }
#pragma unroll
      for (int c = 0; c < 2 * kSide; ++c) {
        const int j = col + c / kSide * (kCols / 2) + lane * kSide + c % kSide;
        const float m = j < head_dim ? mean[j] : 0.0F;
        const auto x = load_pack<kSide>(k + j * kStride + row);
#pragma unroll
        for (int r = 0; r < kSide; ++r) z[r] = fmaf(sums[r][c] + m, x.value[r], z[r]);
      }
    }
#pragma unroll
    for (int r = 0; r < kSide; ++r) {
      const float sum = lanes_sum<kCols / (2 * kSide)>(z[r]);
      const int64_t at = first + row + r;
      if (lane != r || at >= keys.rows[h]) continue;
      const bool seen = ((keys.seen_by(h, at) >> g) & 1U) != 0;
      logits.score[head * logits.stride + at] = seen ? sum : kUnseen;
    }
  }
}

template <class T, int kLanes>
__global__ void expected_scores_value_kernel(const TeamRows<T> values, float epsilon,
                                             ScoreLists lists) {
  constexpr int kTeams = kThreads / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t h = blockIdx.y;
  const int64_t first = int64_t{blockIdx.x} * kTeams;
  const int64_t n_rows = values.rows[h];
  if (first >= n_rows) return;
  const int64_t row = first + threadIdx.x / kLanes;
  float v[kTeamDims];
  values.load(h, min(row, n_rows - 1), lane, v);  // all lanes take part in the sum
  const float square = lanes_sum<kLanes>(dot(v, v));
  if (lane != 0 || row >= n_rows) return;
  float& score = lists.score[h * lists.stride + row];
  if (score != kUnseen) score = (score + epsilon) * sqrtf(square);
}

/// Where combine_scores' part of the workspace ends.
uint64_t combine_bytes(const Heads& heads) {
  return static_cast<uint64_t>(ceil_div(int64_t(combine_workspace_bytes(heads.n_heads)), 16)) * 16;
}

template <class T>
void launch_logits(const TeamRows<T>& keys, const Expected& expected, const Heads& heads,
                   int64_t max_rows, const ScoreLists& logits, Stream stream) {
  const int64_t padded = ceil_div(heads.head_dim, kCols) * kCols;
  const auto bytes = static_cast<int>(padded * kStride * sizeof(float));  // at most 68 KiB
  check_cuda(cudaFuncSetAttribute(expected_scores_logits_kernel<T>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "prepare expected_scores");
  const dim3 grid(blocks_for(max_rows, kRows), grid_size(heads.n_kv_heads));
  expected_scores_logits_kernel<T><<<grid, kThreads, static_cast<size_t>(bytes), stream>>>(
      keys, expected, static_cast<int>(padded), logits);
  check_launch("expected_scores: logits");
}

}  // namespace

uint64_t expected_scores_workspace_bytes(const Heads& heads) {
  const auto floats = static_cast<uint64_t>(heads.q_size() * (heads.head_dim + 1));
  return combine_bytes(heads) + floats * sizeof(float);
}

void expected_scores(const ExpectedArgs& args, const MeanRotation& rotation,
                     const ScoreLists& logits, const ScoreLists& lists, Stream stream) {
  const Heads& heads = args.heads;
  const Zones& zones = args.zones;
  auto* space = static_cast<std::byte*>(args.workspace);
  auto* mean = reinterpret_cast<float*>(space + combine_bytes(heads));
  const Expected expected{.mean = mean, .covariance = mean + heads.q_size()};
  const int64_t half = heads.head_dim / 2;
  const dim3 grid(blocks_for(half * half, kThreads), grid_size(heads.n_heads));
  const int64_t n = args.outlook.n_queries;
  expected_scores_query_kernel<<<grid, kThreads, 0, stream>>>(
      args.statistics, n > 0 ? 1.0 / static_cast<double>(n) : 0.0, static_cast<int>(heads.head_dim),
      rotation, expected);
  check_launch("expected_scores: expect");
  with_type(args.type, [&]<class T>(const T*) {
    const TeamRows<T> keys = team_rows<T>(args.kv.k, args.kv, heads, zones);
    launch_logits(keys, expected, heads, zones.max_rows, logits, stream);
    combine_scores(logits, GroupScore::kMean, zones, lists, args.workspace, stream);
    with_team(heads.head_dim, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      const dim3 blocks(blocks_for(zones.max_rows, kThreads / kLanes), grid_size(heads.n_kv_heads));
      expected_scores_value_kernel<T, kLanes><<<blocks, kThreads, 0, stream>>>(
          team_rows<T>(args.kv.v, args.kv, heads, zones), args.outlook.epsilon, lists);
    });
  });
  check_launch("expected_scores");
}

}  // namespace winnow::cuda
