// The rows of all KV heads, shared out among the threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "src/cpu/threads.h"
#include "src/kv/rows.h"
#include "weights/config.h"

namespace winnow::cpu {

constexpr int64_t kSpanRows = 512;  // rows of a task

/// Calls f(h, r) for the rows of every KV head, on all threads where `work` multiplications are
/// worth it.
template <class F>
void for_rows(const ModelConfig& config, const Zones& zones, int64_t work, F&& f) {
  const int64_t n_spans = (zones.max_rows + kSpanRows - 1) / kSpanRows;
#pragma omp parallel for schedule(static) if (work >= kParallelWork)
  for (int64_t task = 0; task < config.n_kv_heads * n_spans; ++task) {
    const int64_t h = task / n_spans;
    const int64_t first = task % n_spans * kSpanRows;
    const int64_t last = std::min<int64_t>(first + kSpanRows, zones.rows[h]);
    for (int64_t r = first; r < last; ++r) f(h, r);
  }
}

/// Whether any query head of the group sees row r of KV head h: by its mask, and by the window of
/// the last row, as attention_scores() has it.
inline bool seen_by_any(const ModelConfig& config, const KvRows& kv, const Zones& zones, int64_t h,
                        int64_t r) {
  const int64_t entry = kv.first[h] + r;
  const int32_t start = kv.window_start_of(kv.first[h] + zones.rows[h] - 1);
  return (kv.mask[entry] & mask_of_group(config.group())) != 0 && kv.in_window(entry, start);
}

}  // namespace winnow::cpu
