// tova: Token Omission Via Attention, arXiv 2401.06104. The state of a network with a fixed memory
// is a set of tokens, the same for all heads of a layer: those that the last token attends to.
//
//   A[h][j]  = softmax over j of q_last[h] . k_j / sqrt(head_dim)
//   score[j] = mean over all query heads h of the layer of A[h][j]
//
//   B | k = B - 1, the same rows in every KV head | recent: the last row |
//
// Cost: keys are read once. It fails where heads want different rows: what one head alone needs is
// outvoted (sage asks the same query, head by head), and the last token is a small window. The
// paper drops the least row at every step; here that is done once, after the prompt, and generated
// rows are appended.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

class Tova : public Policy {
 public:
  std::string_view name() const override { return "tova"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.k = budget - 1, .recent = 1};
  }

  Needs needs() const override { return {.spares = 1}; }
  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  /// Groups are of one size: the mean of their means is that of all query heads.
  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    const ScoreLists& logits = scene.spare[0];
    device.attention_scores(scene.last_query, scene.rows, scene.zones, logits);
    device.combine_scores(logits, GroupScore::kMean, scene.zones, lists);
    device.share_scores(scene.zones, lists);
  }
};

}  // namespace winnow
