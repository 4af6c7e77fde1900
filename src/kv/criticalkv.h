// criticalkv: CriticalKV, arXiv 2502.03805. A row matters by what its value does to the output, not
// by attention alone; but attention is trusted first.
//
//   A[j]     = snapkv's score (src/kv/snapkv.h) as a mean over the w queries, mean over the group
//   V[j]     = ||v_j W_O||_1, W_O of each query head; mean over the group
//
//   stage 1    the best k / 2 by A                         they stay, whatever their values
//   stage 2    the best k - k / 2 of the rest by (A + 1e-4) V
//
//   B | k = B - w: | stage 1 | stage 2 | | recent: the last w = 32 |
//
// Cost: beside snapkv's, the product of all values with the output matrix, as in a prompt's
// projection: hidden_size / head_dim times what laprox (src/kv/laprox.h) needs. The two numbers,
// 1/2 and 1e-4, are tuned; the constant decides how much a large value makes up for no attention.
#pragma once

#include <cstddef>
#include <vector>

#include "src/kv/snapkv.h"

namespace winnow {

class CriticalKv : public Policy {
 public:
  static constexpr int64_t kWindow = 32;
  static constexpr int64_t kPool = 7;
  static constexpr float kLeastAttention = 1e-4F;

  explicit CriticalKv(const PolicyOptions& options)
      : window_(options.window.value_or(kWindow)), pool_(options.pool.value_or(kPool)) {}

  std::string_view name() const override { return "criticalkv"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t lists) const override {
    return SnapKv::window_shares(budget, lists, window_);
  }

  Needs needs() const override { return {.queries = window_, .spares = 2}; }
  OwnOptions own_options() const override { return {.window = true, .pool = true}; }
  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    const ScoreLists& heads = scene.spare[0];
    const ScoreLists& pooled = scene.spare[1];
    device.window_attention(scene.queries, scene.n_queries, scene.rows, scene.zones,
                            WindowSum::kMean, heads);
    device.pool_scores(heads, pool_, Pool::kMax, scene.zones, pooled);
    device.group_scores(pooled, GroupScore::kMean, scene.zones, lists);

    const Zones first_stage = with_half_of_k(device, scene.zones, lists.n, heads.cut);
    device.top_k(first_stage, lists);
    device.promote_scores(first_stage, lists);

    ScoreLists norms = scene.spare[1];
    norms.n = lists.n;
    device.value_norms(*scene.weights, scene.rows, scene.zones, ValueNorm::kOutputL1, heads);
    device.group_scores(heads, GroupScore::kMean, scene.zones, norms);
    device.scale_scores(lists, kLeastAttention, norms, scene.zones);
  }

 private:
  /// The zones with half of their k, which `memory` has room for.  memory [n_kv_heads]
  static Zones with_half_of_k(Device& device, Zones zones, int64_t n_kv_heads, void* memory) {
    std::vector<int32_t> k(static_cast<size_t>(n_kv_heads));
    const uint64_t bytes = k.size() * sizeof(int32_t);
    device.download(k.data(), zones.k, bytes);
    for (int32_t& rows : k) rows /= 2;
    device.upload(memory, k.data(), bytes);
    zones.k = static_cast<const int32_t*>(memory);
    return zones;
  }

  int64_t window_;
  int64_t pool_;
};

}  // namespace winnow
