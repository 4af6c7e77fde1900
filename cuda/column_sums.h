// The ways in which add_column_sums() (kernels.h) can be computed: it takes the fastest that
// applies, tests compare them. Each returns false, and launches nothing, where it does not apply.
#pragma once

#include "cuda/kernels.h"

namespace winnow::cuda {

/// On tensor cores, for 16-bit types, heads of 64 or 128, 16-byte alignment and no window.
bool column_sums_mma(const ColumnSumArgs& args, Stream stream);

/// For everything.
bool column_sums_plain(const ColumnSumArgs& args, Stream stream);

}  // namespace winnow::cuda
