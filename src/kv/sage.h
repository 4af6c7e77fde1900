// sage: SAGE-KV, arXiv 2503.08879. The last token of the prompt says what the text before it is
// worth: each query head keeps the rows that this token attends to most.
//
//   score[h][j] = q_last[h] . k_j / sqrt(head_dim)    of query head h, over the rows j between
//
//   B | sink: B / 4 | G lists, each its best B / (2 G) | recent: what is left, about B / 4 |
//
// G query heads share a KV head. Softmax leaves the order of scores as it is and is left out. The
// paper rounds k further down for G = 7; here it is floor(B / (2 G)) for every G.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

/// One list over the whole group gets as many rows as the group's lists have together.
inline Shares sage_shares(int64_t budget, int64_t group, int64_t lists) {
  Shares shares;
  shares.sink = budget / 4;
  shares.k = budget / (2 * group) * (group / lists);
  shares.recent = budget - shares.sink - lists * shares.k;
  return shares;
}

class Sage : public Policy {
 public:
  std::string_view name() const override { return "sage"; }

  Shares shares(int64_t budget, int64_t group, int64_t lists) const override {
    return sage_shares(budget, group, lists);
  }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    device.attention_scores(scene.last_query, scene.rows, scene.zones, lists);
  }
};

}  // namespace winnow
