// What the KV cache cost, counted while it is used. An entry is one stored row of one KV head.
//
//   footprint      (arXiv 2506.17121, section 2.1) entries that a query could see, summed over all
//                  query rows, over the same sum for a full cache
//   peak fraction  (the same, appendix A) most entries held at a query row, over those of a full
//                  cache at the end
//   occupancy      entries held, summed over units of work (one query row in one layer), over the
//   same
//                  sum for a full cache that grows in all layers at once; sees how long rows live,
//                  and the order of the layers
#pragma once

#include <cstdint>

#include "src/kv_cache.h"

namespace winnow {

class KvMeter {
 public:
  explicit KvMeter(const ModelConfig& config) : config_(config) {}

  /// Counts a pass of `n` rows, layer by layer, over `cache` as it was before the pass.
  void close_pass(const KvCache& cache, int64_t n);

  double footprint() const { return ratio(visible_, visible_full_); }
  double peak_fraction() const { return ratio(most_held_, most_held_full_); }
  double occupancy() const { return ratio(held_, held_full_); }

 private:
  static double ratio(double part, double whole) { return whole > 0 ? part / whole : 1; }

  ModelConfig config_;
  // Sums of entries: doubles, because a million rows squared, times layers and heads, pass 2^63.
  double visible_ = 0;
  double visible_full_ = 0;
  double most_held_ = 0;
  double most_held_full_ = 0;
  double held_ = 0;
  double held_full_ = 0;
};

}  // namespace winnow
