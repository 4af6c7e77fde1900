// The safetensors header: which tensor lies where in the file.
//
//   bytes 0..7      N, little endian
//   bytes 8..8+N    JSON: {"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}
//   from 8+N on     the data; the offsets count from here, without holes or overlaps
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/dtype.h"
#include "src/base/file.h"

namespace winnow {

/// One tensor of a file. offset + bytes lies within the file, and bytes = product(shape) * size.
struct TensorInfo {
  std::string name;
  DType type = DType::kF32;
  std::vector<uint64_t> shape;
  uint64_t offset = 0;  // from the start of the file
  uint64_t bytes = 0;
};

/// Reads and checks the header of `file`; the tensors come in the order of their offsets. Fails
/// with kModel for every departure from the format, and names files of other formats.
std::vector<TensorInfo> read_safetensors_header(const File& file);

}  // namespace winnow
