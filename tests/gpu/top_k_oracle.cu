// Keys that ascend as scores descend, sorted with their rows. Zones are the segments.
#include <cub/block/block_reduce.cuh>
#include <cub/device/device_segmented_radix_sort.cuh>

#include "cuda/check.h"
#include "cuda/types.cuh"
#include "tests/gpu/top_k_oracle.h"

namespace winnow::test {
namespace {

using cuda::ceil_div;
using cuda::check_cuda;
using cuda::check_launch;
using cuda::grid_size;

constexpr int kThreads = 256;

/// The workspace, cut up.
struct Workspace {
  uint32_t* keys;  // [n, stride]
  uint32_t* sorted_keys;
  int32_t* rows;
  int32_t* begin;  // [n] places of zones in the arrays above
  int32_t* end;
  void* sort;
  size_t sort_bytes;
  uint64_t bytes;  // of all
};

cudaError_t sort(const ScoreLists& lists, Workspace& space, int32_t* sorted_rows,
                 cudaStream_t stream) {
  return cub::DeviceSegmentedRadixSort::SortPairs(
      space.sort, space.sort_bytes, space.keys, space.sorted_keys, space.rows, sorted_rows,
      static_cast<int>(lists.n * lists.stride), static_cast<int>(lists.n), space.begin, space.end,
      0, 32, stream);
}

/// `memory` may be null, to learn the number of bytes.
Workspace cut(const ScoreLists& lists, void* memory) {
  constexpr uint64_t kAlignment = 256;
  uint64_t used = 0;
  const auto take = [&](uint64_t bytes) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory) + used;
    used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  };
  const auto n = static_cast<uint64_t>(lists.n);
  const uint64_t words = n * static_cast<uint64_t>(lists.stride) * 4;
  Workspace space{};
  check_cuda(sort(lists, space, nullptr, nullptr), "learn what the sort needs");
  space.keys = reinterpret_cast<uint32_t*>(take(words));
  space.sorted_keys = reinterpret_cast<uint32_t*>(take(words));
  space.rows = reinterpret_cast<int32_t*>(take(words));
  space.begin = reinterpret_cast<int32_t*>(take(n * 4));
  space.end = reinterpret_cast<int32_t*>(take(n * 4));
  space.sort = reinterpret_cast<void*>(take(space.sort_bytes));
  space.bytes = used;
  return space;
}

/// Grid: (parts of a list, lists).
__global__ void make_pairs_kernel(ScoreLists lists, uint32_t* keys, int32_t* rows) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= lists.stride) return;
  const int64_t at = blockIdx.y * lists.stride + row;
  const float score = lists.score[at];
  const uint32_t bits = score == 0 ? 0 : __float_as_uint(score);
  keys[at] = (bits & 0x80000000U) != 0 ? bits : 0x7fffffffU - bits;
  rows[at] = static_cast<int32_t>(row);
}

__global__ void make_segments_kernel(Zones zones, ScoreLists lists, int64_t lists_per_head,
                                     int32_t* begin, int32_t* end) {
  const int64_t list = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (list >= lists.n) return;
  const auto first = static_cast<int32_t>(list * lists.stride);
  begin[list] = first + zones.begin[list / lists_per_head];
  end[list] = first + zones.end[list / lists_per_head];
}

/// Grid: (kReadParts, lists).
__global__ void read_scores_kernel(ScoreLists lists, float* sums) {
  using Reduce = cub::BlockReduce<float, kThreads>;
  __shared__ Reduce::TempStorage storage;
  const float* score = lists.score + blockIdx.y * lists.stride;
  float sum = 0;
#pragma unroll 4
  for (int64_t row = 4 * (int64_t{blockIdx.x} * kThreads + threadIdx.x); row < lists.stride;
       row += 4 * kReadParts * kThreads) {
    const cuda::Pack<float, 4> four = cuda::load_pack<4>(score + row);
    sum += (four.value[0] + four.value[1]) + (four.value[2] + four.value[3]);
  }
  sum = Reduce(storage).Sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.y * kReadParts + blockIdx.x] = sum;
}

}  // namespace

uint64_t sort_zones_bytes(const ScoreLists& lists) {
  return cut(lists, nullptr).bytes;
}

void sort_zones(const Zones& zones, const ScoreLists& lists, int64_t n_kv_heads, void* workspace,
                int32_t* sorted_rows, cudaStream_t stream) {
  Workspace space = cut(lists, workspace);
  const dim3 grid(grid_size(ceil_div(lists.stride, kThreads)), grid_size(lists.n));
  make_pairs_kernel<<<grid, kThreads, 0, stream>>>(lists, space.keys, space.rows);
  check_launch("make_pairs");
  make_segments_kernel<<<grid_size(ceil_div(lists.n, kThreads)), kThreads, 0, stream>>>(
      zones, lists, lists.n / n_kv_heads, space.begin, space.end);
  check_launch("make_segments");
  check_cuda(sort(lists, space, sorted_rows, stream), "sort zones");
}

void read_scores(const ScoreLists& lists, float* sums, cudaStream_t stream) {
  const dim3 grid(grid_size(kReadParts), grid_size(lists.n));
  read_scores_kernel<<<grid, kThreads, 0, stream>>>(lists, sums);
  check_launch("read_scores");
}

}  // namespace winnow::test
