#include "src/bench/step_cost.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "src/bench/score_cost.h"

namespace winnow {
namespace {

/// The sum of n numbers of the device, mostly one of each KV head.
double sum_of(Device& device, const int32_t* numbers, int64_t n) {
  std::vector<int32_t> host(static_cast<size_t>(n));
  device.download(host.data(), numbers, host.size() * sizeof(int32_t));
  return static_cast<double>(std::reduce(host.begin(), host.end(), int64_t{0}));
}

/// Rows that a KV head holds before the batch, as a mean over heads.
double older_rows(const CostShape& shape, const KvRows& kv, Device& device) {
  const double visible = sum_of(device, kv.visible, shape.config.n_kv_heads);
  return visible / static_cast<double>(shape.config.n_kv_heads) - 1 +
         static_cast<double>(kv.appended);
}

/// Costs of winnowing depend on a layer's rows, its zones and what is kept, as means over heads.
class WinnowCost {
 public:
  WinnowCost(const CostShape& shape, const Step& step, Device& device)
      : shape_(shape), step_(step), device_(device), heads_(shape.config.n_kv_heads) {}

  Cost operator()() const {
    switch (step_.kind) {
      case StepKind::kTopK: return top_k_cost(step_.lists->n, zone());
      case StepKind::kListKept: return list_kept_cost(step_.lists->n, zone(), kept());
      case StepKind::kGatherRows: return gather_rows_cost(shape_, kept());
      case StepKind::kTakeScores: return take_scores_cost(kept());
      case StepKind::kAddQueryStatistics: return add_query_statistics_cost(shape_, step_.batch->n);
      default: return step_.zones != nullptr ? score_cost() : Cost{};
    }
  }

 private:
  Cost score_cost() const {
    switch (step_.kind) {
      case StepKind::kAttentionScores: return attention_scores_cost(shape_, rows());
      case StepKind::kWindowAttention: return window_attention_cost(shape_, step_.queries, rows());
      case StepKind::kValueNorms: return value_norms_cost(shape_, step_.value_norm, rows());
      case StepKind::kKeyNorms:
      case StepKind::kKeyDifferences: return key_scores_cost(shape_, rows());
      case StepKind::kExpectedScores: return expected_scores_cost(shape_, rows());
      case StepKind::kRandomScores: return random_scores_cost(shape_, rows());
      case StepKind::kStoredScores: return stored_scores_cost(shape_, rows());
      case StepKind::kCombineScores: return combine_scores_cost(shape_, rows());
      case StepKind::kGroupScores: return group_scores_cost(shape_, zone());
      case StepKind::kScaleScores: return change_scores_cost(step_.lists->n, zone(), 2);
      case StepKind::kPoolScores:
      case StepKind::kNormalizeScores:
      case StepKind::kChunkScores: return change_scores_cost(step_.lists->n, zone());
      case StepKind::kShareScores: return change_scores_cost(step_.lists->n, rows());
      case StepKind::kPromoteScores: return top_k_cost(step_.lists->n, zone());
      default: return {};
    }
  }

  int64_t rows() const { return mean(sum_of(device_, step_.zones->rows, heads_), heads_); }
  /// A list that is alone may hold the zones of all heads, one after the other: it is one zone.
  int64_t zone() const {
    const int64_t n = step_.lists->n == 1 ? 1 : heads_;
    return mean(sum_of(device_, step_.zones->end, n) - sum_of(device_, step_.zones->begin, n), n);
  }
  static int64_t mean(double sum, int64_t n) { return std::llround(sum / static_cast<double>(n)); }
  double kept() const { return sum_of(device_, step_.kept->count, heads_); }

  const CostShape& shape_;
  const Step& step_;
  Device& device_;
  int64_t heads_;
};

}  // namespace

Cost step_cost(const CostShape& shape, const Step& step, Device& device) {
  const int64_t n = step.batch != nullptr ? step.batch->n : 0;
  switch (step.kind) {
    case StepKind::kEmbed: return embed_cost(shape, n);
    case StepKind::kQkv: return qkv_cost(shape, n);
    case StepKind::kAttention:
      if (step.batch->length == 0) return {};
      return attention_cost(shape, n, older_rows(shape, *step.kv, device));
    case StepKind::kAttentionOutput: return attention_output_cost(shape, n);
    case StepKind::kGateUp: return gate_up_cost(shape, n);
    case StepKind::kDown: return down_cost(shape, n);
    case StepKind::kLogits: return logits_cost(shape, n);
    case StepKind::kSample: return sample_cost(shape);
    default: return WinnowCost(shape, step, device)();
  }
}

}  // namespace winnow
