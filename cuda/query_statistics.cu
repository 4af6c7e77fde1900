// Sums over a prompt's queries before they were rotated: of q, and of q q^T, for every query head.
//
//   1. thread (row, pair): the cosine and sine that turn the pair back to place 0, into a table;
//      zeros for the tokens that do not count
//   2. block (tile, head): a tile of the head's matrix over all rows of the chunk. Elements are
//      taken by pairs, kPairs at a time, because a pair is turned back as a whole:
//
//        half a tile   | i0 .. i0+31 | half+i0 .. half+i0+31 |      kCols = 64 elements
//
//      Blocks with a <= b do the half tiles (a, b), and write (b, a) too. A thread has 4 x 4 sums:
//
//        slab of kSlab rows, shared:  [row][64 of a]  [row][64 of b]  ->  16 x 16 threads
//
// Sums run over the rows in their order: in fp32 for kSpan rows, then in double. Bound by fp32
// arithmetic: about n * head_dim^2 multiply-adds a head.
#include "cuda/check.h"
#include "cuda/rope.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPairs = 32;
constexpr int kCols = 2 * kPairs;
constexpr int kSlab = 32;
constexpr int kSpan = 256;
constexpr int kSide = 4;  // a thread's sums are kSide x kSide
static_assert(kThreads * kSide * kSide == kCols * kCols);
static_assert(kSpan % kSlab == 0);

/// Cosine and sine over the amplitude.  turns [n, half]
__global__ void query_statistics_turns_kernel(const int32_t* position, int64_t n, int half,
                                              const __grid_constant__ RopeFrequencies frequencies,
                                              float2* turns) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= n * half) return;
  const int32_t place = position[at / half];
  const float frequency = frequencies.value[at % half];
  const Rotation by = rotation_at(place, frequency, 1.0F / frequencies.scale);
  const bool counts = place >= QueryStatistics::kSkipped;
  turns[at] = counts ? float2{by.cosine, by.sine} : float2{0.0F, 0.0F};
}

template <class T>
struct Queries {
  const T* q;           // [n, n_heads, head_dim]
  const float2* turns;  // [n, half]
  int64_t n;
  int n_heads;
  int head_dim;

  /// Rows [first, first + kSlab) of half a tile, turned back; zeros past the head and the chunk.
  ///   x[i] = y[i] cos + y[half + i] sin     x[half + i] = y[half + i] cos - y[i] sin
  __device__ void load_slab(int head, int64_t first, int tile, float (*to)[kCols]) const {
    const int half = head_dim / 2;
    const int in_tile = static_cast<int>(threadIdx.x) % kPairs;
    const int i = tile * kPairs + in_tile;
    for (int r = static_cast<int>(threadIdx.x) / kPairs; r < kSlab; r += kThreads / kPairs) {
      const int64_t row = first + r;
      Pair<float> x{0.0F, 0.0F};
      if (i < half && row < n) {
        const Pair<float> y = load_pair(q + (row * n_heads + head) * head_dim, half, i);
        const float2 turn = turns[row * half + i];
        x = {fmaf(y.low, turn.x, y.high * turn.y), fmaf(y.high, turn.x, -(y.low * turn.y))};
      }
      to[r][in_tile] = x.low;
      to[r][kPairs + in_tile] = x.high;
    }
  }

  /// The head's element that is column `col` of half a tile; -1 past the head.
  __device__ int element(int tile, int col) const {
    const int half = head_dim / 2;
    const int i = tile * kPairs + col % kPairs;
    if (i >= half) return -1;
    return col < kPairs ? i : half + i;
  }
};

/// Half tiles a <= b of tile number `tile`: (0, 0), (0, 1), (1, 1), (0, 2), ...
struct HalfTiles {
  int a;
  int b = 0;

  __device__ explicit HalfTiles(int tile) : a(tile) {
    for (; a > b; ++b) a -= b + 1;
  }
};

__device__ void add_to(float* sum, double more) {
  *sum = static_cast<float>(static_cast<double>(*sum) + more);
}

/// A thread's sums of products.
struct Sums {
  float part[kSide][kSide] = {};
  double total[kSide][kSide] = {};

  /// x, y [kSide], aligned to 16
  __device__ void add(const float* x, const float* y) {
    const auto a = load_pack<kSide>(x);
    const auto b = load_pack<kSide>(y);
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
#pragma unroll
      for (int j = 0; j < kSide; ++j) part[i][j] = fmaf(a.value[i], b.value[j], part[i][j]);
    }
  }
  __device__ void close_span() {
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
#pragma unroll
      for (int j = 0; j < kSide; ++j) {
        total[i][j] += static_cast<double>(part[i][j]);
        part[i][j] = 0;
      }
    }
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    query_statistics_kernel(const Queries<T> queries, QueryStatistics statistics) {
  __shared__ __align__(16) float slab_a[kSlab][kCols];
  __shared__ __align__(16) float slab_b[kSlab][kCols];
  const HalfTiles tiles(static_cast<int>(blockIdx.x));
  const int head = static_cast<int>(blockIdx.y);
  const int row_of_sums = static_cast<int>(threadIdx.x) / (kCols / kSide) * kSide;
  const int col_of_sums = static_cast<int>(threadIdx.x) % (kCols / kSide) * kSide;
  const bool diagonal = tiles.a == tiles.b;
  const bool sums_q = diagonal && threadIdx.x < kCols;
  Sums sums;
  float q_part = 0;
  double q_total = 0;
  for (int64_t first = 0; first < queries.n; first += kSlab) {
    queries.load_slab(head, first, tiles.a, slab_a);
    if (!diagonal) queries.load_slab(head, first, tiles.b, slab_b);
    __syncthreads();
    const float(*second)[kCols] = diagonal ? slab_a : slab_b;
#pragma unroll 4
    for (int r = 0; r < kSlab; ++r) sums.add(&slab_a[r][row_of_sums], &second[r][col_of_sums]);
    for (int r = 0; r < kSlab && sums_q; ++r) q_part += slab_a[r][threadIdx.x];
    __syncthreads();
    if ((first + kSlab) % kSpan != 0 && first + kSlab < queries.n) continue;
    sums.close_span();
    q_total += static_cast<double>(q_part);
    q_part = 0;
  }

  const int64_t d = queries.head_dim;
  float* products = statistics.products + head * d * d;
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) {
      const int x = queries.element(tiles.a, row_of_sums + i);
      const int y = queries.element(tiles.b, col_of_sums + j);
      if (x < 0 || y < 0) continue;
      add_to(&products[x * d + y], sums.total[i][j]);
      if (!diagonal) add_to(&products[y * d + x], sums.total[i][j]);
    }
  }
  const int x = queries.element(tiles.a, static_cast<int>(threadIdx.x) % kCols);
  if (sums_q && x >= 0) add_to(&statistics.sum[head * d + x], q_total);
}

}  // namespace

uint64_t query_statistics_workspace_bytes(const Heads& heads, int64_t n) {
  return static_cast<uint64_t>(n * heads.head_dim / 2) * sizeof(float2);
}

void add_query_statistics(const QueryStatisticsArgs& args, const RopeFrequencies& frequencies,
                          const QueryStatistics& statistics, Stream stream) {
  const Heads& heads = args.heads;
  const int half = static_cast<int>(heads.head_dim) / 2;
  auto* turns = static_cast<float2*>(args.workspace);
  query_statistics_turns_kernel<<<blocks_for(args.n * half, kThreads), kThreads, 0, stream>>>(
      args.position, args.n, half, frequencies, turns);
  check_launch("add_query_statistics: angles");
  const int64_t side = ceil_div(half, kPairs);
  const dim3 grid(grid_size(side * (side + 1) / 2), grid_size(heads.n_heads));
  with_type(args.type, [&]<class T>(const T*) {
    const Queries<T> queries = {.q = static_cast<const T*>(args.q),
                                .turns = turns,
                                .n = args.n,
                                .n_heads = static_cast<int>(heads.n_heads),
                                .head_dim = static_cast<int>(heads.head_dim)};
    query_statistics_kernel<T><<<grid, kThreads, 0, stream>>>(queries, statistics);
  });
  check_launch("add_query_statistics");
}

}  // namespace winnow::cuda
