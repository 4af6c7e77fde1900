// laprox: LaProx, arXiv 2605.07234. A row is worth what the layer's output loses with it, and that
// can be compared between heads and layers: one cut through the whole model.
//
// A layer's output is the sum over query heads of A (V W_O): a product of two matrices, of which
// the rows of V W_O and the columns of A that belong together are kept or dropped together. The
// best few of such pairs are those with the greatest product of lengths (equations 8 and 9):
//
//   p[j]        = ||column j of A||_2 * ||v_j W_O||_2     A of the last w queries, as in snapkv
//   score[h][j] = average around j, `pool` rows wide, of the mean of p over the group
//   s[l][h][j]  = score / sum over the layer's heads and rows      (equation 12)
//
//   layer l, KV head h | = = =      | recent |     the best n_layers * n_kv_heads * (B - w) by s
//   layer l, head h + 1 | =========== | recent |   stay, wherever they are; of each head, the last
//   w
//
// Cost: two passes over the layer's keys and a product of values with head_dim x head_dim numbers a
// query head (src/output_factor.h). Everything depends on how scores of layers compare: without the
// normalization the paper loses what the common cut wins. No head has a floor but its window.
//
// What the paper does not say is read as others did: the group's mean is that of whole scores, and
// what is pooled is the score; --kv-terms, --kv-cut and the like take the parts away.
#pragma once

#include <utility>

#include "src/kv/snapkv.h"

namespace winnow {

class LaProx : public Policy {
 public:
  static constexpr int64_t kWindow = 32;
  static constexpr int64_t kPool = 7;

  explicit LaProx(const PolicyOptions& options)
      : window_(options.window.value_or(kWindow)),
        pool_(options.pool.value_or(kPool)),
        terms_(options.terms.value_or(ScoreTerms::kOutput)),
        normalize_(options.normalize.value_or(true)),
        pool_attention_(options.pool_attention.value_or(false)) {}

  std::string_view name() const override { return "laprox"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t lists) const override {
    return SnapKv::window_shares(budget, lists, window_);
  }

  Needs needs() const override {
    return {.queries = window_, .o_factors = terms_ == ScoreTerms::kOutput, .spares = 2};
  }
  OwnOptions own_options() const override { return {.window = true, .pool = true, .laprox = true}; }
  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  CutScope cut() const override { return CutScope::kModel; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    const Zones& zones = scene.zones;
    ScoreLists p = scene.spare[0];
    ScoreLists other = scene.spare[1];
    device.window_attention(scene.queries, scene.n_queries, scene.rows, zones, WindowSum::kNorm, p);
    if (pool_attention_) {
      device.pool_scores(p, pool_, Pool::kAverage, zones, other);
      std::swap(p, other);
    }
    if (terms_ != ScoreTerms::kAttention) {
      const bool output = terms_ == ScoreTerms::kOutput;
      device.value_norms(*scene.weights, scene.rows, zones,
                         output ? ValueNorm::kOutput : ValueNorm::kValue, other);
      device.scale_scores(p, 0, other, zones);
    }
    other.n = lists.n;
    const bool pools_last = !pool_attention_;
    device.group_scores(p, GroupScore::kMean, zones, pools_last ? other : lists);
    if (pools_last) device.pool_scores(other, pool_, Pool::kAverage, zones, lists);
    if (normalize_) device.normalize_scores(lists, zones);
  }

 private:
  int64_t window_;
  int64_t pool_;
  ScoreTerms terms_;     // what p is made of
  bool normalize_;       // whether a layer's scores sum up to 1
  bool pool_attention_;  // whether pooled are the columns' lengths, and not the scores
};

}  // namespace winnow
