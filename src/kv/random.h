// random: what a method must beat to be worth its scores. It keeps as many sinks and recent rows as
// sage (arXiv 2503.08879), and chooses those between by chance.
//
//   score[h][j] = uniform(seed of the layer, h, position of row j)
#pragma once

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
  /// mix(mix(seed) + (layer + 1) * phi), with the constants of src/kv/random_score.h: no seed's
  /// layer is another seed's.
  uint64_t layer_seed(int64_t layer) const {
    return mix(mix(seed_) + (static_cast<uint64_t>(layer) + 1) * 0x9e3779b97f4a7c15U);
  }

  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

  uint64_t seed_;
};

}  // namespace winnow
