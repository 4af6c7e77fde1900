// What the GPU's top-k is held against: a full sort by CUB, and a plain read of the scores.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "src/kv/rows.h"

namespace winnow::test {

/// Device memory that sort_zones() needs for lists.n * lists.stride < 2^31 scores.
uint64_t sort_zones_bytes(const ScoreLists& lists);

/// Rows of every list's zone, the greatest score first and of equal ones the lower row, by a stable
/// segmented radix sort. Place begin + j of a list is the row of rank j; places outside of the zone
/// are not written. NaN stands first or last, by its sign.
/// workspace sort_zones_bytes(lists), aligned to 256; sorted_rows [lists.n, lists.stride]
void sort_zones(const Zones& zones, const ScoreLists& lists, int64_t n_kv_heads, void* workspace,
                int32_t* sorted_rows, cudaStream_t stream);

/// Blocks that read_scores() gives a list.
constexpr int64_t kReadParts = 32;

/// Reads every score once, as fast as that goes.  sums [lists.n, kReadParts]
void read_scores(const ScoreLists& lists, float* sums, cudaStream_t stream);

}  // namespace winnow::test
