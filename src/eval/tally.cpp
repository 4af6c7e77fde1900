#include "src/eval/tally.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "src/base/error.h"
#include "src/eval/interval.h"

namespace winnow {

void Tally::add(const EvalSample& sample, const std::vector<SampleResult>& results) {
  WINNOW_CHECK(results.size() == policies_.size(), "a result for each method");
  for (size_t i = 0; i < results.size(); ++i) {
    Key key{.task = sample.task, .length = sample.length, .method = i, .depth = std::nullopt};
    add_to(key, sample, results[i]);
    if (!sample.depth) continue;
    key.depth = sample.depth;
    add_to(key, sample, results[i]);
  }
}

void Tally::add_to(const Key& key, const EvalSample& sample, const SampleResult& result) {
  Sum& sum = sums_[key];
  sum.scores.push_back(result.score);
  sum.budget += static_cast<double>(result.budget);
  sum.tokens += static_cast<double>(sample.tokens());
  sum.rows_kept += static_cast<double>(result.rows_kept);
  sum.bytes_kept += static_cast<double>(result.bytes_kept);
  sum.bytes_peak += static_cast<double>(result.bytes_peak);
  sum.footprint += result.footprint;
  sum.occupancy += result.occupancy;
  sum.decode_ms += result.decode_ms;
  sum.decode_passes += result.decode_passes;
}

std::vector<EvalRow> Tally::rows(const std::string& task, int64_t length) const {
  std::vector<EvalRow> rows;
  // Keys are sorted by method, then depth; no depth comes first.
  const Key first{.task = task, .length = length, .method = 0, .depth = std::nullopt};
  for (auto at = sums_.lower_bound(first); at != sums_.end(); ++at) {
    if (at->first.task != task || at->first.length != length) break;
    rows.push_back(row(at->first, at->second));
  }
  return rows;
}

EvalRow Tally::row(const Key& key, const Sum& sum) const {
  const auto n = static_cast<double>(sum.scores.size());
  const int64_t budget = std::llround(sum.budget / n);
  return {.task = key.task,
          .policy = policies_[key.method],
          .budget = budget > 0 ? std::optional(budget) : std::nullopt,
          .question = question_,
          .length = key.length > 0 ? key.length : std::llround(sum.tokens / n),
          .depth = key.depth,
          .n = std::ssize(sum.scores),
          .accuracy = std::accumulate(sum.scores.begin(), sum.scores.end(), 0.0) / n,
          .ci95 = mean_interval(sum.scores),
          .rows_kept = sum.rows_kept / n,
          .bytes_kept = sum.bytes_kept / n,
          .bytes_peak = sum.bytes_peak / n,
          .footprint = sum.footprint / n,
          .occupancy = sum.occupancy / n,
          .ms_per_token =
              sum.decode_passes > 0 ? sum.decode_ms / static_cast<double>(sum.decode_passes) : 0};
}

}  // namespace winnow
