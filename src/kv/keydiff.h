// keydiff: KeyDiff, arXiv 2504.15364. Rows whose keys are unlike the others are worth keeping: the
// keys of a head crowd around one direction, and what stands apart from it is what a query can
// single out.
//
//   a        = mean over all rows of k_j / ||k_j||
//   score[j] = -cos(k_j, a)      of each KV head, over the rows j between
//
//   B | k = B - 1 | recent: the last row |
//
// Keys are taken as they are stored, rotated to their places. No query is looked at. Cost: keys are
// read twice. It fails where the text itself is the crowd: of many rows that say the same, all are
// dropped together, and a key may stand apart without ever being asked for. The paper reads a
// prompt in blocks and scores what is kept anew after each, under one fixed budget; here a whole
// prompt is scored at once. Generated rows are appended.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

class KeyDiff : public Policy {
 public:
  std::string_view name() const override { return "keydiff"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.k = budget - 1, .recent = 1};
  }

  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    device.key_differences(scene.rows, scene.zones, lists);
  }
};

}  // namespace winnow
