// What the KV cache cost, counted while it is used. An entry is one stored row of one KV head.
//
//   footprint      (arXiv 2506.17121, section 2.1) entries that were not dropped when a query came,
//                  summed over all query rows, over the same sum for a full cache
//   peak fraction  (the same, appendix A) the most of them at any query row, over the entries that
//   a
//                  full cache holds at the end
//   occupancy      entries held, summed over units of work (one query row in one layer), over the
//                  same sum for a full cache that grows in all layers at once; sees how long rows
//                  live, and the order of the layers
#pragma once

#include <cstdint>

#include "weights/config.h"

namespace winnow {

/// What a layer's rows find when they come, in entries.
struct KvLoad {
  int64_t visible = 0;  // that the first row sees, itself included, over the layer's KV heads; each
                        // later row sees one more of every head
  int64_t elsewhere = 0;  // held meanwhile and not seen: of other layers, or of the cache that is
                          // being replaced
};

class KvMeter {
 public:
  explicit KvMeter(const ModelConfig& config) : config_(config) {}

  /// Counts `n` query rows in one layer.
  void count_layer(int64_t n, const KvLoad& load);

  /// `entries` are held at a time.
  void count_held(int64_t entries);

  /// Ends a pass of `n` rows, counted in every layer, whose first has the place `position`.
  void close_pass(int64_t n, int64_t position);

  double footprint() const { return ratio(sums_.visible, sums_.visible_full); }
  double peak_fraction() const { return ratio(sums_.most_visible, sums_.most_visible_full); }
  double occupancy() const { return ratio(sums_.held, sums_.held_full); }

  /// The most entries that were held at a time, in the cache and beside it.
  int64_t most_held() const { return most_held_; }

  /// Sums of entries over a text so far, between two passes: doubles, because a million rows
  /// squared, times layers and heads, pass 2^63.
  struct Sums {
    double visible = 0;
    double visible_full = 0;
    double most_visible = 0;
    double most_visible_full = 0;
    double held = 0;
    double held_full = 0;
  };
  const Sums& sums() const { return sums_; }

  /// Goes on with a text that was counted elsewhere, `entries` of which are held now. The most that
  /// was held there is left behind.
  void resume(const Sums& sums, int64_t entries) {
    sums_ = sums;
    count_held(entries);
  }

 private:
  static double ratio(double part, double whole) { return whole > 0 ? part / whole : 1; }

  ModelConfig config_;
  int64_t most_held_ = 0;
  Sums sums_;
  double visible_at_end_ = 0;  // of the last row of the pass that is open, over its layers so far
};

}  // namespace winnow
