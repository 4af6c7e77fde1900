// snapkv: SnapKV, arXiv 2404.14469. What the end of a prompt attends to is what the answer will
// attend to.
//
//   A[i][j]  = softmax over j of q_i . k_j / sqrt(head_dim)     the last w queries i, all rows j
//   s[j]     = sum over i of A[i][j]
//   score[j] = greatest of s around j, `pool` rows wide         a row comes with its neighbours
//
//   B | k = B - w, by the mean score of the group | recent: the last w = 32 |
//
// Cost: two passes over the layer's keys. It fails where the prompt's end does not say what will be
// asked (the question comes later), and where the window is most of a small budget. The paper lets
// each query head choose; with shared KV heads the mean of the group is what others made of it:
// --kv-group head brings the lists back.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

class SnapKv : public Policy {
 public:
  static constexpr int64_t kWindow = 32;
  static constexpr int64_t kPool = 7;

  explicit SnapKv(const PolicyOptions& options)
      : window_(options.window.value_or(kWindow)), pool_(options.pool.value_or(kPool)) {}

  std::string_view name() const override { return "snapkv"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t lists) const override {
    return window_shares(budget, lists, window_);
  }

  /// The window stays, the lists share what is left of the budget.
  static Shares window_shares(int64_t budget, int64_t lists, int64_t window) {
    const int64_t k = (budget - window) / lists;
    return {.k = k, .recent = budget - lists * k};
  }

  Needs needs() const override { return {.queries = window_, .spares = pool_ > 1 ? 1 : 0}; }
  OwnOptions own_options() const override { return {.window = true, .pool = true}; }
  Group group() const override { return Group::kMean; }
  bool scores_are_weights() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    const ScoreLists& sums = pool_ > 1 ? scene.spare[0] : lists;
    device.window_attention(scene.queries, scene.n_queries, scene.rows, scene.zones,
                            WindowSum::kSum, sums);
    if (pool_ > 1) device.pool_scores(sums, pool_, Pool::kMax, scene.zones, lists);
  }

 private:
  int64_t window_;
  int64_t pool_;
};

}  // namespace winnow
