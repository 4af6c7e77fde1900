// expected: Expected Attention, arXiv 2510.00636. What the tokens to come will ask is not known,
// but what their queries are like is: like those of the prompt. A row is worth the attention that
// such a query gives it on average.
//
// Queries before rotation are taken as normal, with the mean m and covariance C of the prompt's,
// its first 4 tokens left out. R is the mean of the rotations to the next 512 places:
//
//   z[h][j]  = (R m)^T k_j / sqrt(d) + k_j^T (R C R^T) k_j / (2 d)      d = head_dim
//            the logarithm of what e^(q k_j / sqrt(d)) is on average
//   score[j] = (mean over the group of softmax over j of z[h][j]) * ||v_j||_2
//
//   B | sink: 4 | k = B - 5 | recent: the last row |
//
// Cost: sums of q q^T over the prompt and k^T C k for every row and query head: head_dim
// multiplications for each of an attention score's, and head_dim^2 numbers a query head. It fails
// where the question is unlike the text, and it cannot tell which of many alike rows will be asked
// for. Sinks take part in the softmax here; kvpress leaves them out, which weighs the heads of a
// group a little differently. Generated rows are appended.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

class Expected : public Policy {
 public:
  static constexpr int64_t kSinks = QueryStatistics::kSkipped;

  std::string_view name() const override { return "expected"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.sink = kSinks, .k = budget - kSinks - 1, .recent = 1};
  }

  Needs needs() const override { return {.query_statistics = true, .spares = 1}; }
  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    device.expected_scores(scene.statistics, scene.outlook, scene.rows, scene.zones, scene.spare[0],
                           lists);
  }
};

}  // namespace winnow
