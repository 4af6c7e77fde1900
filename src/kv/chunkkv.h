// chunkkv: ChunkKV, arXiv 2502.00299. A sentence is worth more than its words: rows stay or go in
// runs of neighbours, so that what stays can be read.
//
//   A[h][j]  = sum over the last w queries of their softmax over j, as in snapkv
//   a[j]     = mean over all query heads h of the layer of A[h][j]
//   score[j] = mean of a over the run of `chunk` rows that j is in
//
//   B | k = B - w, whole runs, the same in every KV head | recent: the last w = 32 |
//
// Runs are counted from the first row; the last one that is taken is cut short where the budget
// ends. Runs are 20 rows long, as in kvpress. Cost: two passes over the layer's keys. It fails
// where one row is all that is needed, which a run of twenty pays for, and where runs cut
// through what belongs together. The paper also lets neighbouring layers share a choice, which
// saves time and is left out here. Generated rows are appended.
#pragma once

#include "src/kv/policy.h"

namespace winnow {

class ChunkKv : public Policy {
 public:
  static constexpr int64_t kWindow = 32;
  static constexpr int64_t kChunk = 20;

  explicit ChunkKv(const PolicyOptions& options)
      : window_(options.window.value_or(kWindow)), chunk_(options.chunk.value_or(kChunk)) {}

  std::string_view name() const override { return "chunkkv"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.k = budget - window_, .recent = window_};
  }

  Needs needs() const override { return {.queries = window_, .spares = 1}; }
  OwnOptions own_options() const override { return {.window = true, .chunk = true}; }
  Group group() const override { return Group::kMean; }
  bool scores_kv_heads() const override { return true; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& device, const LayerScene& scene, const ScoreLists& lists) const override {
    const Zones& zones = scene.zones;
    const ScoreLists& sums = scene.spare[0];
    device.window_attention(scene.queries, scene.n_queries, scene.rows, zones, WindowSum::kSum,
                            sums);
    device.group_scores(sums, GroupScore::kMean, zones, lists);
    device.share_scores(zones, lists);
    device.chunk_scores(zones, chunk_, lists);
  }

 private:
  int64_t window_;
  int64_t chunk_;  // rows of a run
};

}  // namespace winnow
