// Tensor maps: what TMA must know of a tensor in global memory to copy boxes of it.
//
// A box is 64 columns (128 bytes of a 16-bit type) wide: the most that the 128-byte swizzle of
// wgmma.cuh takes. A map is made on the host and handed to a kernel by value, as a
// `const __grid_constant__` parameter; it holds the tensor's address and is valid as long as that.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "src/base/dtype.h"

namespace winnow::cuda {

constexpr int kBoxColumns = 64;

/// Boxes of [box_rows, 64] of a matrix [rows, columns] of a 16-bit type. `data` is a multiple of
/// 16, `columns` one of 64. Fails with kDevice where the driver refuses.
CUtensorMap map_rows(DType type, const void* data, int64_t rows, int64_t columns, int box_rows);

/// Boxes of [box_rows, 64] of one head of a tensor [rows, heads, head_dim]; the coordinates of a
/// box are column, head, row.
CUtensorMap map_heads(DType type, const void* data, int64_t rows, int64_t heads, int64_t head_dim,
                      int box_rows);

}  // namespace winnow::cuda
