// Many rows (prefill): a panel of 16 outputs is widened to fp32 and turned, kDepth of its columns
// at a time, and stays in the first-level cache while all rows of x go by in tiles (tile.h). The
// rows of x come from the second-level cache, a few bytes for each step of 12 multiply-adds. Bound
// by the multiply-adds: 2 * n * rows * cols FLOPs.
//
//            x [n, cols]                  panel [kDepth, 16]          y [n, rows]
//     6 | ====|....|....|....       *       |##|            +=      |  ## first 6 rows
//     6 | ====|....|....|....               |##|                    |  ##
//     6 | ====|....|....|....               |##|                    |  ##
//        kDepth
//
// Few rows (decode): every weight is used once or twice, so it is read in its stored order, and
// four outputs share the loads of x. Bound by reading the weights.
//
// Both ways give each output to one thread whole, and sum in one order.
#include "src/cpu/matmul.h"

#include <algorithm>

#include "src/cpu/simd.h"
#include "src/cpu/threads.h"
#include "src/cpu/tile.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kDepth = 512;     // of a panel: 32 KiB
constexpr int64_t kFewRows = 3;     // up to here turning the panel costs more than it saves
constexpr int64_t kDotOutputs = 4;  // outputs that share the loads of x

/// panel[k][j] = w[j][k] for j < n_outputs; what is above is not written.
/// w [n_outputs, depth], rows `stride` apart; panel [depth, kTileCols]
template <class T>
void pack_panel(const T* w, int64_t stride, int64_t n_outputs, int64_t depth, float* panel) {
  for (int64_t j0 = 0; j0 < n_outputs; j0 += kLanes) {
    const bool whole = n_outputs - j0 >= kLanes;
    int64_t k = 0;
    for (; whole && k + kLanes <= depth; k += kLanes) {
      Vec block[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) block[j] = load(w + (j0 + j) * stride + k);
      transpose(block);
      for (int64_t i = 0; i < kLanes; ++i) store(panel + (k + i) * kTileCols + j0, block[i]);
    }
    for (; k < depth; ++k) {
      for (int64_t j = j0; j < std::min(n_outputs, j0 + kLanes); ++j) {
        panel[k * kTileCols + j] = to_float(w[j * stride + k]);
      }
    }
  }
}

/// y[j] (+)= sum[j] for j < n_outputs.  y [n_outputs]
inline void store_sums(const Columns& sum, int64_t n_outputs, bool add, float* y) {
  if (n_outputs == kTileCols) {
    store(y, add ? load(y) + sum.half[0] : sum.half[0]);
    store(y + kLanes, add ? load(y + kLanes) + sum.half[1] : sum.half[1]);
    return;
  }
  for (int64_t j = 0; j < n_outputs; ++j) y[j] = add ? y[j] + sum[j] : sum[j];
}

/// One panel of up to 16 outputs, for all rows of x.
/// panel [kDepth, kTileCols] scratch; y points at the panel's first output
template <class T>
void panel_product(const Matrix& w, int64_t first_output, const float* x, int64_t n, float* y,
                   bool accumulate, float* panel) {
  const int64_t n_outputs = std::min(kTileCols, w.rows - first_output);
  for (int64_t k0 = 0; k0 < w.cols; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, w.cols - k0);
    const T* weights = static_cast<const T*>(w.data) + first_output * w.cols + k0;
    pack_panel(weights, w.cols, n_outputs, depth, panel);
    const bool add = accumulate || k0 > 0;
    for (int64_t i = 0; i < n; i += kTileRows) {
      const TileRows x_rows{x + i * w.cols + k0, w.cols, 1};
      multiply_rows(std::min(kTileRows, n - i), x_rows, panel, kTileCols, depth,
                    [&](int r, const Columns& sum) {
                      store_sums(sum, n_outputs, add, y + (i + r) * w.rows);
                    });
    }
  }
}

// Panels go to whichever thread is free: on a busy machine one of them may be away for long.
template <class T>
void many_rows(const Matrix& w, const float* x, int64_t n, float* y, bool accumulate) {
  const int64_t n_panels = (w.rows + kTileCols - 1) / kTileCols;
#pragma omp parallel if (n * w.rows * w.cols >= kParallelWork)
  {
    alignas(64) float panel[kDepth * kTileCols] = {};
#pragma omp for schedule(dynamic)
    for (int64_t p = 0; p < n_panels; ++p) {
      const int64_t first = p * kTileCols;
      panel_product<T>(w, first, x, n, y + first, accumulate, panel);
    }
  }
}

/// sums[j] = w[j] . x for kOutputs outputs.  w [kOutputs, cols], x [cols]
template <int kOutputs, class T>
void dots(const T* w, const float* x, int64_t cols, float* sums) {
  Vec even[kOutputs];
  Vec odd[kOutputs];
#pragma GCC unroll 4
  for (int j = 0; j < kOutputs; ++j) even[j] = odd[j] = Vec{};
  int64_t k = 0;
  for (; k + 2 * kLanes <= cols; k += 2 * kLanes) {
    const Vec x0 = load(x + k);
    const Vec x1 = load(x + k + kLanes);
#pragma GCC unroll 4
    for (int j = 0; j < kOutputs; ++j) {
      even[j] += load(w + j * cols + k) * x0;
      odd[j] += load(w + j * cols + k + kLanes) * x1;
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kOutputs; ++j) {
    sums[j] = sum_of(even[j] + odd[j]);
    for (int64_t rest = k; rest < cols; ++rest) sums[j] += to_float(w[j * cols + rest]) * x[rest];
  }
}

template <class T>
void one_row(const Matrix& w, const float* x, float* y, bool accumulate) {
  const T* weights = static_cast<const T*>(w.data);
  const int64_t n_blocks = (w.rows + kDotOutputs - 1) / kDotOutputs;
#pragma omp parallel for schedule(static) if (w.rows * w.cols >= kParallelWork)
  for (int64_t block = 0; block < n_blocks; ++block) {
    const int64_t first = block * kDotOutputs;
    const int64_t n_outputs = std::min(kDotOutputs, w.rows - first);
    float sums[kDotOutputs];
    if (n_outputs == kDotOutputs) {
      dots<kDotOutputs>(weights + first * w.cols, x, w.cols, sums);
    } else {
      for (int64_t j = 0; j < n_outputs; ++j) {
        dots<1>(weights + (first + j) * w.cols, x, w.cols, sums + j);
      }
    }
    for (int64_t j = 0; j < n_outputs; ++j) {
      y[first + j] = accumulate ? y[first + j] + sums[j] : sums[j];
    }
  }
}

}  // namespace

void matmul(const Matrix& w, const float* x, int64_t n, float* y, bool accumulate) {
  with_dtype(w.type, [&]<class T>(const T*) {
    if (n > kFewRows) return many_rows<T>(w, x, n, y, accumulate);
    for (int64_t i = 0; i < n; ++i) {
      one_row<T>(w, x + i * w.cols, y + i * w.rows, accumulate);
    }
  });
}

}  // namespace winnow::cpu
