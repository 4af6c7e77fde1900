// Numbers as a checkpoint stores them.
#pragma once

#include <string>
#include <vector>

#include "tests/support/safetensors_file.h"

namespace winnow::test {

struct Stored {
  std::string bytes;
  std::vector<float> values;  // after rounding
};

inline Stored store_as(DType type, const std::vector<float>& values) {
  const TestTensor tensor{"w", type, {values.size()}, encode(type, values)};
  return {tensor.bytes, decode(tensor)};
}

}  // namespace winnow::test
