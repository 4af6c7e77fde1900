// random: what a method must beat to be worth its scores. It keeps as many sinks and recent rows as
// sage (arXiv 2503.08879), and chooses those between by chance.
//
//   score[h][j] = uniform(seed of the layer, h, position of row j)
#pragma once

#include "src/base/splitmix.h"
#include "src/kv/sage.h"

namespace winnow {

class Random : public Policy {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}

  std::string_view name() const override { return "random"; }

  Shares shares(int64_t budget, int64_t group, int64_t lists) const override {
    return sage_shares(budget, group, lists);
  }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    device.random_scores(layer_seed(scene.layer), scene.rows, scene.zones, lists);
  }

 private:
  /// The seed is mixed first, so that no seed's layer is another seed's.
  uint64_t layer_seed(int64_t layer) const {
    return splitmix64(splitmix_mix(seed_), static_cast<uint64_t>(layer));
  }

  uint64_t seed_;
};

}  // namespace winnow
