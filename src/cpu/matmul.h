// Matrix products with weights in their stored type.
#pragma once

#include <cstdint>

#include "weights/model.h"

namespace winnow::cpu {

/// y = x W^T, or y += x W^T where `accumulate`. The result does not depend on the number of
/// threads. x [n, w.cols] fp32; y [n, w.rows] fp32
void matmul(const Matrix& w, const float* x, int64_t n, float* y, bool accumulate = false);

}  // namespace winnow::cpu
