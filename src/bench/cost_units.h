// What costs are counted in: sizes of elements, and whole numbers as doubles.
#pragma once

#include <cstdint>

#include "src/base/dtype.h"

namespace winnow {

inline constexpr double kFp32Bytes = sizeof(float);
inline constexpr double kInt32Bytes = sizeof(int32_t);

inline double element_bytes(DType type) {
  return static_cast<double>(dtype_size(type));
}

inline double number(int64_t n) {
  return static_cast<double>(n);
}

}  // namespace winnow
