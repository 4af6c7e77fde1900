// The k greatest scores of each list: the GPU's Device::top_k.
#pragma once

#include <cstdint>

#include "cuda/kernels.h"
#include "src/kv/rows.h"

namespace winnow::cuda {

/// lists.cut[i] = the cut after the k[h] greatest scores of rows [begin[h], end[h]) of list i, of
/// equal ones the lower row first; h = i / (lists.n / n_kv_heads). Rows are the list's own numbers:
/// score[i][0] is row 0. One launch for all lists; zones are read where they lie. By the first that
/// fits of these:
///
///   a score is NaN          {NaN, -1}
///   k <= 0                  {+infinity, -1}: nothing is taken
///   k or fewer candidates   {-infinity, -1}: all are taken; -infinity is no candidate
///   else                    the k-th score, -0 as +0, and the row of the k-th
///
/// lists.score is aligned to 16 bytes.
void top_k(const Zones& zones, const ScoreLists& lists, int64_t n_kv_heads, Stream stream);

}  // namespace winnow::cuda
