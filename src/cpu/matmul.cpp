// Many rows: a panel of 16 outputs is widened to fp32 and turned, so that one step of the inner
// loop reads 16 neighbours of the panel and one number of each of 6 rows of x: 12 sums in
// registers.
//
//        x [n, cols]              panel [depth, 16]            y [n, rows]
//     6 | a a a a ...   *    k | b0 ...... b15         =    6 | c0 ...... c15
//
// Few rows (decode): every weight is used once or twice, so it is read in its stored order, and
// four outputs share the loads of x. Both ways give each output to one thread whole.
#include "src/cpu/matmul.h"

#include <algorithm>
#include <vector>

#include "src/cpu/simd.h"
#include "src/cpu/threads.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kDepth = 512;     // of a panel: 32 KiB, which stay in the first-level cache
constexpr int64_t kFewRows = 3;     // up to here turning the panel costs more than it saves
constexpr int64_t kDotOutputs = 4;  // outputs that share the loads of x

template <int kRows>
void tile_of(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth,
             float* c, int64_t c_stride, bool accumulate) {
  Vec sum[kRows][2];
  for (int r = 0; r < kRows; ++r) {
    sum[r][0] = accumulate ? load(c + r * c_stride) : Vec{};
    sum[r][1] = accumulate ? load(c + r * c_stride + kLanes) : Vec{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    const Vec b0 = load(b + k * b_stride);
    const Vec b1 = load(b + k * b_stride + kLanes);
    for (int r = 0; r < kRows; ++r) {
      const float a_rk = a[r * a_stride + k];
      sum[r][0] += a_rk * b0;
      sum[r][1] += a_rk * b1;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    store(c + r * c_stride, sum[r][0]);
    store(c + r * c_stride + kLanes, sum[r][1]);
  }
}

/// panel[k][j] = w[j][k] for j < n_outputs, 0 above.  w [n_outputs, depth], rows `stride` apart
template <class T>
void pack_panel(const T* w, int64_t stride, int64_t n_outputs, int64_t depth, float* panel) {
  for (int64_t j = 0; j < kTileCols; ++j) {
    if (j >= n_outputs) {
      for (int64_t k = 0; k < depth; ++k) panel[k * kTileCols + j] = 0;
      continue;
    }
    const T* row = w + j * stride;
    for (int64_t k = 0; k < depth; ++k) panel[k * kTileCols + j] = to_float(row[k]);
  }
}

/// One panel of up to 16 outputs, for all rows of x.  y points at the panel's first output.
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
      const int64_t rows = std::min(kTileRows, n - i);
      const float* a = x + i * w.cols + k0;
      float* c = y + i * w.rows;
      if (n_outputs == kTileCols) {
        tile(rows, a, w.cols, panel, kTileCols, depth, c, w.rows, add);
        continue;
      }
      float edge[kTileRows * kTileCols];
      tile(rows, a, w.cols, panel, kTileCols, depth, edge, kTileCols, false);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < n_outputs; ++j) {
          c[r * w.rows + j] = edge[r * kTileCols + j] + (add ? c[r * w.rows + j] : 0.0F);
        }
      }
    }
  }
}

template <class T>
void many_rows(const Matrix& w, const float* x, int64_t n, float* y, bool accumulate) {
  const int64_t n_panels = (w.rows + kTileCols - 1) / kTileCols;
#pragma omp parallel if (n * w.rows * w.cols >= kParallelWork)
  {
    std::vector<float> panel(static_cast<size_t>(std::min(kDepth, w.cols) * kTileCols));
#pragma omp for schedule(static)
    for (int64_t p = 0; p < n_panels; ++p) {
      const int64_t first = p * kTileCols;
      panel_product<T>(w, first, x, n, y + first, accumulate, panel.data());
    }
  }
}

/// sums[j] = w[j] . x for four outputs.  w [4, cols], x [cols]
template <class T>
void four_dots(const T* w, const float* x, int64_t cols, float* sums) {
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t k = 0; k < cols; ++k) {
    s0 += to_float(w[k]) * x[k];
    s1 += to_float(w[cols + k]) * x[k];
    s2 += to_float(w[2 * cols + k]) * x[k];
    s3 += to_float(w[3 * cols + k]) * x[k];
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

template <class T>
float one_dot(const T* w, const float* x, int64_t cols) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < cols; ++k) sum += to_float(w[k]) * x[k];
  return sum;
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
      four_dots(weights + first * w.cols, x, w.cols, sums);
    } else {
      for (int64_t j = 0; j < n_outputs; ++j) {
        sums[j] = one_dot(weights + (first + j) * w.cols, x, w.cols);
      }
    }
    for (int64_t j = 0; j < n_outputs; ++j) {
      y[first + j] = accumulate ? y[first + j] + sums[j] : sums[j];
    }
  }
}

}  // namespace

void tile(int64_t rows, const float* a, int64_t a_stride, const float* b, int64_t b_stride,
          int64_t depth, float* c, int64_t c_stride, bool accumulate) {
  switch (rows) {
    case 1: return tile_of<1>(a, a_stride, b, b_stride, depth, c, c_stride, accumulate);
    case 2: return tile_of<2>(a, a_stride, b, b_stride, depth, c, c_stride, accumulate);
    case 3: return tile_of<3>(a, a_stride, b, b_stride, depth, c, c_stride, accumulate);
    case 4: return tile_of<4>(a, a_stride, b, b_stride, depth, c, c_stride, accumulate);
    case 5: return tile_of<5>(a, a_stride, b, b_stride, depth, c, c_stride, accumulate);
    default: return tile_of<6>(a, a_stride, b, b_stride, depth, c, c_stride, accumulate);
  }
}

void matmul(const Matrix& w, const float* x, int64_t n, float* y, bool accumulate) {
  with_dtype(w.type, [&]<class T>(const T*) {
    if (n > kFewRows) return many_rows<T>(w, x, n, y, accumulate);
    for (int64_t i = 0; i < n; ++i) {
      one_row<T>(w, x + i * w.cols, y + i * w.rows, accumulate);
    }
  });
}

}  // namespace winnow::cpu
