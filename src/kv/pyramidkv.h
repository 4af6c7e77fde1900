// pyramidkv: PyramidKV, arXiv 2406.02069. Lower layers spread their attention over many rows, upper
// ones gather it in few: snapkv's score (src/kv/snapkv.h), and a budget that falls with depth.
//
//   k_l = most - l (most - least) / (L - 1)     least = k / beta, most = 2 k - least, beta = 20
//
//   layer 0      | ===================== |      k on average: the cache is as large as snapkv's
//   layer L / 2  | ===========           |
//   layer L - 1  | =                     |
//
// Where a layer has fewer than `most` rows between, the line falls less steeply through the same
// mean. Cost: that of snapkv. It fails as snapkv does, and on models whose upper layers attend
// widely: the slope is set, not seen.
#pragma once

#include <algorithm>
#include <cmath>

#include "src/kv/snapkv.h"

namespace winnow {

class PyramidKv : public SnapKv {
 public:
  static constexpr int64_t kBeta = 20;

  using SnapKv::SnapKv;

  std::string_view name() const override { return "pyramidkv"; }

  /// The line's sum up to a layer is rounded, not each of its values, so that nothing is lost.
  int64_t layer_k(int64_t k, int64_t layer, int64_t n_layers, int64_t candidates) const override {
    if (n_layers < 2 || candidates <= k) return k;
    const int64_t most = std::min(most_layer_k(k), candidates);
    const auto step = 2 * static_cast<double>(most - k) / static_cast<double>(n_layers - 1);
    const auto sum_before = [&](int64_t l) {
      const auto pairs = static_cast<double>(l * (l - 1)) / 2;
      return std::llround(static_cast<double>(most * l) - step * pairs);
    };
    return sum_before(layer + 1) - sum_before(layer);
  }

  int64_t most_layer_k(int64_t k) const override { return 2 * k - k / kBeta; }
};

}  // namespace winnow
