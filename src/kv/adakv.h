// adakv: Ada-KV, arXiv 2407.11550. Heads differ in how widely they attend, so they should not all
// get the same budget: one cut through the rows of all KV heads of a layer.
//
//   A[i][j]     as in snapkv (src/kv/snapkv.h)
//   score[h][j] = greatest around j, `pool` rows wide, of the mean over the group and the w queries
//   f[h]        = rows of KV head h among the layer's best n_kv_heads * k
//   k[h]        = (1 - alpha) f[h] + alpha k           alpha = 0.2: a head's floor
//
//   head 0 | ===                  | recent |      each list keeps its own best k[h]
//   head 1 | ==================== | recent |
//
// Cost: that of snapkv. Weights are compared across heads: one that attends sharply to few rows
// looks richer than one that attends evenly to many, and the floor is there to bound the harm.
#pragma once

#include "src/kv/snapkv.h"

namespace winnow {

class AdaKv : public Policy {
 public:
  static constexpr int64_t kWindow = 32;
  static constexpr int64_t kPool = 7;
  static constexpr double kFloor = 0.2;

  explicit AdaKv(const PolicyOptions& options)
      : window_(options.window.value_or(kWindow)), pool_(options.pool.value_or(kPool)) {}

  std::string_view name() const override { return "adakv"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t lists) const override {
    return SnapKv::window_shares(budget, lists, window_);
  }

  Needs needs() const override { return {.queries = window_, .spares = 2}; }
  OwnOptions own_options() const override { return {.window = true, .pool = true}; }
  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  CutScope cut() const override { return CutScope::kLayer; }
  double floor() const override { return kFloor; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    const ScoreLists& heads = scene.spare[0];
    ScoreLists groups = scene.spare[1];
    groups.n = lists.n;
    device.window_attention(scene.queries, scene.n_queries, scene.rows, scene.zones,
                            WindowSum::kMean, heads);
    device.group_scores(heads, GroupScore::kMean, scene.zones, groups);
    device.pool_scores(groups, pool_, Pool::kMax, scene.zones, lists);
  }

 private:
  int64_t window_;
  int64_t pool_;
};

}  // namespace winnow
