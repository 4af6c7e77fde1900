// What dropping rows costs plain text: how surprised a model is by what comes next.
//
//   file      | prefix: read, then winnowed | fed | scored: each token fed back once it was scored
//   | window 1  |-----------------------------|--|----------------------------------| window 2
//   |-----------------------------|--|----------------------------------|
//             stride
//
// The token after the prefix is fed and not scored: its logits come from the prompt's last row,
// before anything is dropped. Every scored token's logits come from decode steps.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/eval/runner.h"
#include "src/eval/sample.h"
#include "src/eval/settings.h"
#include "src/model.h"

namespace winnow {

/// One method over all windows so far.
struct PerplexityRow {
  std::string policy;
  std::optional<int64_t> budget;  // rows of a KV head; none: every row
  int64_t prefix = 0;
  int64_t n = 0;  // tokens scored
  int64_t windows = 0;
  double perplexity = 0;     // exp of the mean of -log p
  double bits_per_byte = 0;  // -log2 p in all, over the bytes of the text scored
  double kl = 0;             // mean of KL(full || method) at the same places, nats
  double top1 = 0;           // share of places where both find the same token likeliest
  // Means over the windows, after their last step.
  double rows_kept = 0, bytes_kept = 0, bytes_peak = 0, footprint = 0, occupancy = 0;
  double ms_per_token = 0;
};

class Perplexity {
 public:
  /// `methods` pass check_kv. The full cache always runs, as what the others are compared with.
  Perplexity(const ModelFiles& files, const Model& model, std::vector<KvOptions> methods,
             const PerplexityOptions& options, int64_t prefill_rows);

  /// The methods that run, the full cache first: for plan_runs.
  static std::vector<KvOptions> with_full(std::vector<KvOptions> methods);

  /// Tokens that a window of the text takes: BOS is none of them.
  static int64_t window_tokens(const PerplexityOptions& options) {
    return options.prefix - (options.bos ? 1 : 0) + 1 + options.score;
  }

  /// Reads and scores one window.  text [window_tokens()]. Nothing is counted where it throws.
  void run_window(std::span<const int32_t> text, uint64_t draw,
                  const SampleRunner::Progress& progress);

  /// A row for each of the methods that were asked for, in their order; none before the first
  /// window.
  std::vector<PerplexityRow> rows() const;

 private:
  struct Sum {
    double nll = 0, kl = 0, agreed = 0, decode_ms = 0;
    int64_t budget = 0;
    double rows_kept = 0, bytes_kept = 0, bytes_peak = 0, footprint = 0, occupancy = 0;
  };

  void score_token(SequenceSet& sequences, int32_t fed, int32_t next, std::vector<Sum>& window);
  void add_cache(const Sequence& sequence, Sum& sum) const;

  const ModelFiles& files_;
  const Model& model_;
  std::vector<KvOptions> asked_;
  std::vector<KvOptions> methods_;  // the full cache first
  PerplexityOptions options_;
  int64_t prefill_rows_;
  std::vector<Sum> sums_;  // [methods_.size()]
  std::vector<float> logits_;
  std::vector<double> full_log_p_;
  int64_t windows_ = 0;
  int64_t bytes_ = 0;  // of the text scored
};

}  // namespace winnow
