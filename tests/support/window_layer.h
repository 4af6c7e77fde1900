// K/V rows with places in the text that have gaps, as after a selection, for tests of windows.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/support/kv_steps.h"

namespace winnow::test {

/// Head h holds held[h] rows, every third place of the text or so, and n more that are new.
inline TestLayer window_layer(const ModelConfig& c, const std::vector<int32_t>& held, int32_t n,
                              uint64_t seed) {
  std::vector<int32_t> all = held;
  for (int32_t& rows : all) rows += n;
  TestLayer layer(c, all, 0, seed);
  const int32_t begin = 3 * *std::max_element(held.begin(), held.end()) + 7;  // of the new rows
  for (size_t h = 0; h < held.size(); ++h) {
    layer.slot[h] -= n;
    layer.visible[h] -= n;
    for (int32_t r = 0; r < all[h]; ++r) {
      const auto entry = size_t(layer.first[h] + r);
      const bool is_new = r >= held[h];
      layer.position[entry] = is_new ? begin + r - held[h] : begin - 3 * (held[h] - r) - r % 2;
      if (is_new) layer.mask[entry] = kSeenByAll;
    }
  }
  return layer;
}

/// The same layer, where rows before a window that ends at `place` are hidden by their masks.
inline TestLayer masked_before(TestLayer layer, int64_t window, int32_t place) {
  for (size_t entry = 0; entry < layer.position.size(); ++entry) {
    if (layer.position[entry] <= place - window) layer.mask[entry] = 0;
  }
  return layer;
}

}  // namespace winnow::test
