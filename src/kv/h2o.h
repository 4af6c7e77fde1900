// h2o: Heavy-Hitter Oracle, arXiv 2306.14048. Attention has favourites: rows that many queries have
// attended to will be attended to again. A row's score is all the attention that it ever got.
//
//   score[j] = sum over all queries i so far of mean over the group of softmax_i(q_i k_j / sqrt(d))
//
//   B | heavy: the best B / 2 | recent: the other B / 2 |
//
// It goes on while text is written: every token's attention is added to the scores, and its row
// goes over the row with the least score that is not recent:
//
//   step t     | 5.1 | 0.2 | 3.0 | 0.7 | recent ...... |        least: 0.2
//   step t+1   | 5.3 | new | 3.1 | 0.7 | ...... recent |        new is recent now, the oldest of
//   the
//                                                               recent rows is heavy or goes next
//
// Query heads of a group share their rows; the paper has a set for each head. The paper attends
// before a row leaves, here it leaves before the next token attends: a budget of B here is one of
// B - 1 there.
//
// Cost: attention a second time without its values, q k^T for all queries: a softmax's sum over
// columns needs the sums over rows first. Kept with a row: 4 bytes. Where it fails: old rows had
// more queries than late ones, and the first ones had all of them (sinks); a row that matters once,
// late, has a low score until then; and what a question would ask of the text is not known before.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

class H2o : public Policy {
 public:
  std::string_view name() const override { return "h2o"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t lists) const override {
    const int64_t k = budget / 2 / lists;
    return {.k = k, .recent = budget - lists * k};
  }

  Needs needs() const override { return {.column_sums = true}; }
  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kReplaceLeast; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    device.stored_scores(scene.rows, scene.zones, lists);
  }
};

}  // namespace winnow
