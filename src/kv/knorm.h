// knorm: the L2 norm of keys, arXiv 2406.11430. Short keys draw attention: in trained networks the
// rows that queries attend to most, the first rows of a text above all, have the keys of least
// length.
//
//   score[j] = -||k_j||_2      of each KV head, over the rows j between
//
//   B | k = B - 1 | recent: the last row |
//
// No query is looked at, so that rows can be chosen before anything was asked. Cost: keys are read
// once. It fails where the rule does not hold: in the first two layers, which the paper leaves
// whole and this does not, and wherever a text holds what only one question asks for: short keys
// are those that any query likes. Generated rows are appended; the paper goes on dropping rows.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

class KNorm : public Policy {
 public:
  std::string_view name() const override { return "knorm"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.k = budget - 1, .recent = 1};
  }

  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    device.key_norms(scene.rows, scene.zones, lists);
  }
};

}  // namespace winnow
