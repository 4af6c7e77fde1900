// y = x W^T, or y += x W^T, for the few rows of a decode step.
//
//   W row o   | lane 0 | lane 1 | ... | lane 31 | lane 0 | ...      kWidth elements each
//
// One warp an output o: its lanes go over the row of W side by side, each keeps kLoads loads in
// flight, and their sums are added at the end in a fixed order. x is read from the cache by every
// warp; a weight is read once, for all kRows rows of x. kWidth is 16 bytes of T where every row of
// W and x starts on a multiple of 16, else 1. Bound by memory: rows * cols * sizeof(T) bytes.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"
#include "src/base/error.h"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kOutputs = kThreads / kWarp;  // of a block
constexpr int kLoads = 4;                   // of W, per lane, before the first is used

/// w [rows, cols] T; x [kRows, cols] T; y [kRows, rows] Y
template <class T, class Y>
struct Product {
  const T* w;
  const T* x;
  Y* y;
  int64_t rows;
  int64_t cols;
  bool accumulate;
  const int32_t* stopped;  // [1] or null
};

/// Weights pass through once: they leave the cache to x.
template <int kWidth, class T>
__device__ Pack<T, kWidth> load_weights(const T* from) {
  if constexpr (kWidth * sizeof(T) == 16) {
    const uint4 bits = __ldcs(reinterpret_cast<const uint4*>(from));
    return *reinterpret_cast<const Pack<T, kWidth>*>(&bits);
  } else {
    return load_pack<kWidth>(from);
  }
}

/// sums[i] += w * x[i].  x [kRows, cols], from the column of `w` on
template <int kRows, int kWidth, class T>
__device__ void add_products(const Pack<T, kWidth>& w, const T* x, int64_t cols,
                             float (&sums)[kRows]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const Pack<T, kWidth> in = load_pack<kWidth>(x + i * cols);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      sums[i] = fmaf(to_float(w.value[j]), to_float(in.value[j]), sums[i]);
    }
  }
}

template <class T, class Y, int kRows, int kWidth>
__global__ void __launch_bounds__(kThreads) gemv_kernel(const Product<T, Y> p) {
  const int64_t output = int64_t{blockIdx.x} * kOutputs + threadIdx.x / kWarp;
  if (output >= p.rows || (p.stopped != nullptr && *p.stopped != 0)) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  constexpr int kStep = kWarp * kWidth;  // columns that a warp takes with one load
  const T* w = p.w + output * p.cols;
  float sums[kRows] = {};
  int64_t column = lane * kWidth;
  for (; column + (kLoads - 1) * kStep < p.cols; column += kLoads * kStep) {
    Pack<T, kWidth> weights[kLoads];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) weights[u] = load_weights<kWidth>(w + column + u * kStep);
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      add_products<kRows, kWidth>(weights[u], p.x + column + u * kStep, p.cols, sums);
    }
  }
  for (; column < p.cols; column += kStep) {
    add_products<kRows, kWidth>(load_weights<kWidth>(w + column), p.x + column, p.cols, sums);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float sum = lanes_sum(sums[i]);
    Y* y = p.y + i * p.rows + output;
    if (lane == 0) *y = from_float<Y>(p.accumulate ? to_float(*y) + sum : sum);
  }
}

template <int kWidth, class T, class Y>
void launch(const Product<T, Y>& p, int64_t n, Stream stream) {
  const unsigned blocks = grid_size(ceil_div(p.rows, kOutputs));
  switch (n) {
    case 1: gemv_kernel<T, Y, 1, kWidth><<<blocks, kThreads, 0, stream>>>(p); break;
    case 2: gemv_kernel<T, Y, 2, kWidth><<<blocks, kThreads, 0, stream>>>(p); break;
    case 3: gemv_kernel<T, Y, 3, kWidth><<<blocks, kThreads, 0, stream>>>(p); break;
    case 4: gemv_kernel<T, Y, 4, kWidth><<<blocks, kThreads, 0, stream>>>(p); break;
    default: fail(ExitCode::kInternal, "gemv of ", n, " rows");
  }
  check_launch("gemv");
}

}  // namespace

void gemv(const Matrix& w, const void* x, int64_t n, void* y, DType y_type, bool accumulate,
          Stream stream, const int32_t* stopped) {
  with_type(w.type, [&]<class T>(const T*) {
    with_wide_type<T>(y_type, [&]<class Y>(const Y*) {
      const Product<T, Y> product = {static_cast<const T*>(w.data),
                                     static_cast<const T*>(x),
                                     static_cast<Y*>(y),
                                     w.rows,
                                     w.cols,
                                     accumulate,
                                     stopped};
      constexpr int kWidth = kPack16<T>;
      const bool packs = w.cols % kWidth == 0 && aligned16(w.data) && aligned16(x);
      packs ? launch<kWidth>(product, n, stream) : launch<1>(product, n, stream);
    });
  });
}

}  // namespace winnow::cuda
