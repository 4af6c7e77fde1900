// The meters of a cache, summed query row by query row.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>

#include "src/kv/meter.h"
#include "tests/support/slow_cache.h"

namespace winnow::test {

class SlowMeter {
 public:
  /// Counts a pass of `n` rows that made `now` of `before`. `beside`: a new store was filled beside
  /// the old one; `selects`: from a layer's rows in scratch memory.
  void count(const SlowCache& before, const SlowCache& now, int64_t n, bool beside, bool selects) {
    const ModelConfig& c = now.config();
    int64_t at_end = 0;
    int64_t done = 0;  // rows of the layers before, as they are now
    for (int64_t l = 0; l < c.n_layers; ++l) {
      int64_t after = 0;  // rows of the layers after, as they were
      for (int64_t j = l + 1; j < c.n_layers; ++j) after += before.layer_rows(j);
      const bool ring = !beside && before.head(l, 0).ring_rows > 0;
      const int64_t elsewhere = done + (beside ? before.rows_held() : after);
      int64_t visible = before.layer_rows(l);
      for (int64_t i = 0; i < n; ++i) {
        visible += ring ? 0 : c.n_kv_heads;
        visible_ += double(visible);
        held_ += double(visible + elsewhere);
        most_held_ = std::max(most_held_, visible + elsewhere);
      }
      at_end += visible;
      done += now.layer_rows(l);
      if (selects) most_held_ = std::max(most_held_, before.rows_held() + done + visible);
    }
    close(before.next_position(), n, c, double(at_end));
  }

  void check(const KvMeter& meter) const {
    CHECK(meter.footprint() == doctest::Approx(visible_ / visible_full_));
    CHECK(meter.peak_fraction() == doctest::Approx(most_visible_ / full_at_end_));
    CHECK(meter.occupancy() == doctest::Approx(held_ / held_full_));
    CHECK(meter.most_held() == most_held_);
  }

 private:
  void close(int64_t position, int64_t n, const ModelConfig& c, double at_end) {
    const double entries = double(c.n_layers * c.n_kv_heads);  // of a token
    for (int64_t i = 1; i <= n; ++i) {
      visible_full_ += entries * double(position + i);
      held_full_ += double(c.n_layers) * entries * double(position + i);
    }
    most_visible_ = std::max(most_visible_, at_end);
    full_at_end_ = entries * double(position + n);
  }

  double visible_ = 0;
  double visible_full_ = 0;
  double most_visible_ = 0;
  double full_at_end_ = 0;
  double held_ = 0;
  double held_full_ = 0;
  int64_t most_held_ = 0;
};

}  // namespace winnow::test
