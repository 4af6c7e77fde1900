// Of each page of rows the least and the greatest key, channel by channel (src/kv/quest.h).
//
//   page, channel d   k_0 k_1 ... k_15   ->   keys[page][0][d] = least, keys[page][1][d] = greatest
//
// All pages: block (p, h) takes page p of KV head h, a thread some of its channels. A new row:
// block (h), the same. Both numbers are keys themselves: nothing is rounded. Bound by reading K
// once.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 64;

/// The page of row r of KV head h.  [2, head_dim] T
template <class T>
__device__ T* page_at(const KvRows& kv, int64_t h, int64_t r, int head_dim) {
  return static_cast<T*>(kv.pages.keys) + kv.page_of(h, r) * 2 * head_dim;
}

template <class T>
__global__ void __launch_bounds__(kThreads) summarize_pages_kernel(KvRows kv, int head_dim) {
  const int64_t h = blockIdx.y;
  const int64_t first = int64_t{blockIdx.x} * kPageRows;
  const int64_t n_rows = kv.slot[h];
  if (first >= n_rows) return;
  const T* k = static_cast<const T*>(kv.k) + (kv.first[h] + first) * head_dim;
  T* const page = page_at<T>(kv, h, first, head_dim);
  const int n = static_cast<int>(min(kPageRows, n_rows - first));
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kThreads) {
    float least = to_float(k[d]);
    float greatest = least;
#pragma unroll 4
    for (int r = 1; r < n; ++r) {
      const float x = to_float(k[r * head_dim + d]);
      least = fminf(least, x);
      greatest = fmaxf(greatest, x);
    }
    page[d] = from_float<T>(least);
    page[head_dim + d] = from_float<T>(greatest);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    summarize_pages_join_kernel(KvRows kv, const int32_t* stopped, int head_dim) {
  if (stopped != nullptr && *stopped != 0) return;
  const int64_t h = blockIdx.x;
  const int64_t row = kv.slot[h];
  const T* k = static_cast<const T*>(kv.k) + (kv.first[h] + row) * head_dim;
  T* const page = page_at<T>(kv, h, row, head_dim);
  const bool begins = row % kPageRows == 0;
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kThreads) {
    const float x = to_float(k[d]);
    page[d] = begins ? k[d] : from_float<T>(fminf(to_float(page[d]), x));
    page[head_dim + d] = begins ? k[d] : from_float<T>(fmaxf(to_float(page[head_dim + d]), x));
  }
}

}  // namespace

void summarize_pages(const KvRows& kv, const Heads& heads, DType type, Stream stream) {
  const int head_dim = static_cast<int>(heads.head_dim);
  const dim3 grid(blocks_for(kv.capacity, kPageRows), grid_size(heads.n_kv_heads));
  with_type(type, [&]<class T>(const T*) {
    summarize_pages_kernel<T><<<grid, kThreads, 0, stream>>>(kv, head_dim);
  });
  check_launch("summarize_pages");
}

void join_page(const KvRows& kv, const int32_t* stopped, const Heads& heads, DType type,
               Stream stream) {
  const int head_dim = static_cast<int>(heads.head_dim);
  with_type(type, [&]<class T>(const T*) {
    summarize_pages_join_kernel<T>
        <<<grid_size(heads.n_kv_heads), kThreads, 0, stream>>>(kv, stopped, head_dim);
  });
  check_launch("join_page");
}

}  // namespace winnow::cuda
