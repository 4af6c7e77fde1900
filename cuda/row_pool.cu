// A pool of rows out of which rows leave: the segments of all heads move down, within one memory.
//
//   before   | a a a a . . | b b b b b . . |          . room for generated rows
//   taken      x   x         x x     x
//   after    | a a . . | b b b . . |
//
//   1. block (s) counts the rows of segment s that the cut takes; the host says where segments
//      begin from then on
//   2. block (s) lists where each of them comes from and goes to, and moves the scores, which are
//      written to a spare array first
//   3. rows move in batches of kBatchBytes, the lowest first: out of the pool into the workspace,
//      then back. A row goes nowhere above where it was, so that a batch's targets hold nothing
//      that a later batch still wants
//
// Bound by memory: each row that stays is read and written twice.
#include <algorithm>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kCopyThreads = 256;
constexpr uint64_t kAlignment = 256;
constexpr uint64_t kBatchBytes = uint64_t{16} << 20;  // keys and values that are on their way

constexpr uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// A batch has whole rows, and at least one.
int64_t batch_rows(int64_t row_bytes) {
  return std::max<int64_t>(static_cast<int64_t>(kBatchBytes) / (2 * row_bytes), 1);
}

/// What the workspace holds.
struct Workspace {
  int32_t* from;      // [entries] of the rows that stay, in their order
  int32_t* to;        // [entries]
  float* score;       // [entries]
  std::byte* k;       // [batch_rows, head_dim] T
  std::byte* v;       // [batch_rows, head_dim] T
  int32_t* position;  // [batch_rows]
  uint32_t* mask;     // [batch_rows]

  /// The bytes that it takes at `memory`, which may be null.
  uint64_t lay_out(void* memory, int64_t entries, int64_t row_bytes) {
    uint64_t used = 0;
    const auto take = [&](auto*& array, uint64_t bytes) {
      using Array = std::remove_reference_t<decltype(array)>;
      array = reinterpret_cast<Array>(static_cast<std::byte*>(memory) + used);
      used += aligned(bytes);
    };
    const auto n = static_cast<uint64_t>(entries);
    const auto rows = static_cast<uint64_t>(batch_rows(row_bytes));
    take(from, n * sizeof(int32_t));
    take(to, n * sizeof(int32_t));
    take(score, n * sizeof(float));
    take(k, rows * static_cast<uint64_t>(row_bytes));
    take(v, rows * static_cast<uint64_t>(row_bytes));
    take(position, rows * sizeof(int32_t));
    take(mask, rows * sizeof(uint32_t));
    return used;
  }
};

__device__ bool is_taken(const RowPool& pool, const Cut& cut, int64_t entry, int64_t end) {
  return entry < end && cut.takes(pool.score[entry], entry);
}

/// Block (s).  taken [n_segments]
__global__ void __launch_bounds__(kThreads)
    row_pool_count_kernel(RowPool pool, const Cut* cut_at, int32_t* taken) {
  using Reduce = cub::BlockReduce<int32_t, kThreads>;
  __shared__ Reduce::TempStorage storage;
  const Cut cut = *cut_at;
  const int64_t begin = pool.first[blockIdx.x];
  const int64_t end = begin + pool.rows[blockIdx.x];
  int32_t n = 0;
  for (int64_t entry = begin + threadIdx.x; entry < end; entry += kThreads) {
    n += static_cast<int32_t>(is_taken(pool, cut, entry, end));
  }
  n = Reduce(storage).Sum(n);
  if (threadIdx.x == 0) taken[blockIdx.x] = n;
}

__global__ void row_pool_fill_kernel(float* score, int64_t n, float value) {
  const int64_t at = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (at < n) score[at] = value;
}

/// Block (s).
__global__ void __launch_bounds__(kThreads)
    row_pool_list_kernel(RowPool pool, const Cut* cut_at, RowMove move, Workspace space) {
  using Scan = cub::BlockScan<int32_t, kThreads>;
  __shared__ Scan::TempStorage storage;
  const Cut cut = *cut_at;
  const int64_t begin = pool.first[blockIdx.x];
  const int64_t end = begin + pool.rows[blockIdx.x];
  const int64_t target = move.first[blockIdx.x];
  const int64_t listed = move.before[blockIdx.x];
  int64_t done = 0;  // rows that stay of those before this stretch
  for (int64_t stretch = begin; stretch < end; stretch += kThreads) {
    const int64_t entry = stretch + threadIdx.x;
    const bool stays = is_taken(pool, cut, entry, end);
    int32_t before = 0;
    int32_t total = 0;
    Scan(storage).ExclusiveSum(static_cast<int32_t>(stays), before, total);
    __syncthreads();
    if (stays) {
      const int64_t rank = done + before;
      space.from[listed + rank] = static_cast<int32_t>(entry);
      space.to[listed + rank] = static_cast<int32_t>(target + rank);
      space.score[target + rank] = pool.score[entry];
    }
    done += total;
  }
}

/// Words of a batch of rows: row i of it is row first + i of the list.
template <class Word>
struct Batch {
  RowPool pool;
  Workspace space;
  int64_t first;
  int64_t rows;
  int row_words;
};

/// Copies the rows [at / row_words] of one array, word by word, by index.
template <bool kOut, class Word>
__global__ void row_pool_move_kernel(const Batch<Word> b) {
  const int64_t at = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  const int64_t row = at / b.row_words;
  const int64_t word = at % b.row_words;
  if (row >= b.rows) return;
  const int64_t entry = (kOut ? b.space.from : b.space.to)[b.first + row];
  const int64_t in_pool = entry * b.row_words + word;
  auto* const pool_k = static_cast<Word*>(b.pool.k);
  auto* const pool_v = static_cast<Word*>(b.pool.v);
  auto* const k = reinterpret_cast<Word*>(b.space.k);
  auto* const v = reinterpret_cast<Word*>(b.space.v);
  if (kOut) {
    k[at] = pool_k[in_pool];
    v[at] = pool_v[in_pool];
  } else {
    pool_k[in_pool] = k[at];
    pool_v[in_pool] = v[at];
  }
  if (word != 0) return;
  if (kOut) {
    b.space.position[row] = b.pool.position[entry];
    b.space.mask[row] = b.pool.mask[entry];
  } else {
    b.pool.position[entry] = b.space.position[row];
    b.pool.mask[entry] = b.space.mask[row];
  }
}

template <class Word>
void move_rows(const RowPool& pool, const Workspace& space, int64_t row_bytes, int64_t total,
               Stream stream) {
  const int64_t most = batch_rows(row_bytes);
  const int64_t row_words = row_bytes / static_cast<int64_t>(sizeof(Word));
  for (int64_t first = 0; first < total; first += most) {
    const int64_t rows = std::min(most, total - first);
    const Batch<Word> batch{pool, space, first, rows, static_cast<int>(row_words)};
    const unsigned blocks = blocks_for(rows * row_words, kCopyThreads);
    row_pool_move_kernel<true><<<blocks, kCopyThreads, 0, stream>>>(batch);
    check_launch("squeeze_rows: out");
    row_pool_move_kernel<false><<<blocks, kCopyThreads, 0, stream>>>(batch);
    check_launch("squeeze_rows: back");
  }
}

/// Block (b, h): scores b * kCopyThreads and on of list h.
__global__ void row_pool_set_aside_kernel(Zones zones, ScoreLists lists, float outside) {
  const int64_t h = blockIdx.y;
  const int64_t row = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (row >= lists.stride || (row >= zones.begin[h] && row < zones.end[h])) return;
  lists.score[h * lists.stride + row] = row < zones.rows[h] ? outside : -INFINITY;
}

/// Block (b, h): rows b * kCopyThreads and on of those that KV head h keeps.  first [n_kv_heads]
__global__ void row_pool_take_scores_kernel(ScoreLists lists, KeptRows kept, const int64_t* first,
                                            float* to) {
  const int64_t h = blockIdx.y;
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= kept.count[h]) return;
  to[first[h] + i] = lists.score[h * lists.stride + kept.row[h * kept.stride + i]];
}

}  // namespace

void take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first, float* to,
                 Stream stream) {
  const dim3 grid(blocks_for(kept.stride, kCopyThreads), grid_size(lists.n));
  row_pool_take_scores_kernel<<<grid, kCopyThreads, 0, stream>>>(lists, kept, first, to);
  check_launch("take_scores");
}

void set_aside(const Zones& zones, const ScoreLists& lists, float outside, Stream stream) {
  const dim3 grid(blocks_for(lists.stride, kCopyThreads), grid_size(lists.n));
  row_pool_set_aside_kernel<<<grid, kCopyThreads, 0, stream>>>(zones, lists, outside);
  check_launch("set_aside");
}

void count_taken(const RowPool& pool, const Cut* cut, int32_t* taken, Stream stream) {
  if (pool.n_segments == 0) return;
  row_pool_count_kernel<<<grid_size(pool.n_segments), kThreads, 0, stream>>>(pool, cut, taken);
  check_launch("count_taken");
}

uint64_t squeeze_workspace_bytes(int64_t entries, int64_t head_dim, DType type) {
  Workspace space{};
  return space.lay_out(nullptr, entries, head_dim * static_cast<int64_t>(dtype_size(type)));
}

void squeeze_rows(const RowPool& pool, int64_t head_dim, DType type, const Cut* cut,
                  const RowMove& move, void* workspace, Stream stream) {
  const auto row_bytes = head_dim * static_cast<int64_t>(dtype_size(type));
  Workspace space{};
  space.lay_out(workspace, pool.entries, row_bytes);
  const unsigned blocks = blocks_for(pool.entries, kCopyThreads);
  row_pool_fill_kernel<<<blocks, kCopyThreads, 0, stream>>>(space.score, pool.entries, -INFINITY);
  check_launch("squeeze_rows: clear scores");
  if (pool.n_segments > 0) {
    row_pool_list_kernel<<<grid_size(pool.n_segments), kThreads, 0, stream>>>(pool, cut, move,
                                                                              space);
    check_launch("squeeze_rows: list");
  }
  const bool packs = row_bytes % 16 == 0 && aligned16(pool.k) && aligned16(pool.v);
  packs ? move_rows<uint4>(pool, space, row_bytes, move.total, stream)
        : move_rows<uint32_t>(pool, space, row_bytes, move.total, stream);
  check_cuda(
      cudaMemcpyAsync(pool.score, space.score, static_cast<uint64_t>(pool.entries) * sizeof(float),
                      cudaMemcpyDeviceToDevice, stream),
      "move scores");
}

}  // namespace winnow::cuda
