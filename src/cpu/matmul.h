// Matrix products with weights in their stored type.
#pragma once

#include <cstdint>

#include "weights/model.h"

namespace winnow::cpu {

/// y = x W^T, or y += x W^T where `accumulate`. The result does not depend on the number of
/// threads. x [n, w.cols] fp32; y [n, w.rows] fp32
void matmul(const Matrix& w, const float* x, int64_t n, float* y, bool accumulate = false);

/// One block of a product: c[r][j] (+)= sum over k of a[r][k] * b[k][j], for r < rows <= kTileRows
/// and j < kTileCols. a [rows, depth], rows `a_stride` apart; b [depth, kTileCols], rows `b_stride`
/// apart; c [rows, kTileCols], rows `c_stride` apart. All fp32.
constexpr int64_t kTileRows = 6;
constexpr int64_t kTileCols = 16;
void tile(int64_t rows, const float* a, int64_t a_stride, const float* b, int64_t b_stride,
          int64_t depth, float* c, int64_t c_stride, bool accumulate);

}  // namespace winnow::cpu
