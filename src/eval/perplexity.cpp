#include "src/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "src/cli/interrupt.h"

namespace winnow {
namespace {

using Clock = std::chrono::steady_clock;

/// Whether it is what the others are compared with: every row of every head.
bool keeps_all(const KvOptions& method) {
  return method.policy == "full" && method.heads.file.empty();
}

/// log softmax, in double precision.
void log_softmax(std::span<const float> logits, std::vector<double>& log_p) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - most);
  log_p.resize(logits.size());
  const double normaliser = most + std::log(sum);
  for (size_t i = 0; i < logits.size(); ++i) log_p[i] = logits[i] - normaliser;
}

double kl_divergence(std::span<const double> log_p, std::span<const double> log_q) {
  double kl = 0;
  for (size_t i = 0; i < log_p.size(); ++i) kl += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  return kl;
}

bool same_argmax(std::span<const double> a, std::span<const double> b) {
  return std::ranges::max_element(a) - a.begin() == std::ranges::max_element(b) - b.begin();
}

}  // namespace

Perplexity::Perplexity(const ModelFiles& files, const Model& model, std::vector<KvOptions> methods,
                       const PerplexityOptions& options, int64_t prefill_rows)
    : files_(files),
      model_(model),
      asked_(methods),
      methods_(with_full(std::move(methods))),
      options_(options),
      prefill_rows_(prefill_rows),
      sums_(methods_.size()),
      logits_(static_cast<size_t>(files.tokenizer->vocab_size())) {}

std::vector<KvOptions> Perplexity::with_full(std::vector<KvOptions> methods) {
  std::erase_if(methods, keeps_all);
  methods.insert(methods.begin(), KvOptions{});
  return methods;
}

void Perplexity::run_window(std::span<const int32_t> text, uint64_t draw,
                            const SampleRunner::Progress& progress) {
  std::vector<int32_t> prefix;
  if (options_.bos) prefix.push_back(*files_.tokenizer->bos());
  const auto n = static_cast<size_t>(options_.prefix) - prefix.size();
  prefix.insert(prefix.end(), text.begin(), text.begin() + static_cast<std::ptrdiff_t>(n));

  const std::vector<KvSettings> settings = resolve_methods(
      methods_, files_.config, model_.device->compute_type(), options_.prefix, draw);
  SequenceSet sequences(model_, settings, options_.prefix + options_.score, prefill_rows_);
  PrefillHooks hooks;
  hooks.progress = [&](uint64_t done, uint64_t total) {
    check_interrupt();
    if (progress) progress(done, total);
  };
  sequences.read_together(prefix, hooks);

  std::vector<Sum> window(methods_.size());
  int64_t bytes = 0;
  for (size_t i = n; i < n + static_cast<size_t>(options_.score); ++i) {
    check_interrupt();
    score_token(sequences, text[i], text[i + 1], window);
    bytes += std::ssize(files_.tokenizer->decode_piece(text[i + 1], false));
  }
  for (size_t m = 0; m < methods_.size(); ++m) {
    Sum& sum = sums_[m];
    sum.nll += window[m].nll;
    sum.kl += window[m].kl;
    sum.agreed += window[m].agreed;
    sum.decode_ms += window[m].decode_ms;
    sum.budget = settings[m].budget == KvSettings::kNoBudget ? 0 : settings[m].budget;
    add_cache(sequences[m], sum);
  }
  bytes_ += bytes;
  windows_ += 1;
}

/// One step of every method with the token `fed`, and how well each foretells `next`.
void Perplexity::score_token(SequenceSet& sequences, int32_t fed, int32_t next,
                             std::vector<Sum>& window) {
  std::vector<double> log_p;
  for (size_t m = 0; m < sequences.size(); ++m) {
    const Clock::time_point start = Clock::now();
    sequences[m].set_next_token(fed);
    sequences[m].decode();
    sequences[m].wait();
    window[m].decode_ms += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    sequences[m].download_logits(logits_);
    log_softmax(logits_, log_p);
    window[m].nll -= log_p[static_cast<size_t>(next)];
    if (m == 0) full_log_p_ = log_p;
    window[m].kl += kl_divergence(full_log_p_, log_p);
    window[m].agreed += same_argmax(full_log_p_, log_p) ? 1 : 0;
  }
}

void Perplexity::add_cache(const Sequence& sequence, Sum& sum) const {
  SampleResult cost;
  measure_cache(sequence, model_, cost);
  sum.rows_kept += static_cast<double>(cost.rows_kept);
  sum.bytes_kept += static_cast<double>(cost.bytes_kept);
  sum.bytes_peak += static_cast<double>(cost.bytes_peak);
  sum.footprint += cost.footprint;
  sum.occupancy += cost.occupancy;
}

std::vector<PerplexityRow> Perplexity::rows() const {
  std::vector<PerplexityRow> rows;
  if (windows_ == 0) return rows;
  const auto windows = static_cast<double>(windows_);
  const double n = windows * static_cast<double>(options_.score);
  size_t next = 1;  // the methods in their order, but for the full cache
  for (const KvOptions& method : asked_) {
    const Sum& sum = sums_[keeps_all(method) ? 0 : next++];
    rows.push_back({.policy = method.policy,
                    .budget = sum.budget > 0 ? std::optional(sum.budget) : std::nullopt,
                    .prefix = options_.prefix,
                    .n = static_cast<int64_t>(n),
                    .windows = windows_,
                    .perplexity = std::exp(sum.nll / n),
                    .bits_per_byte = sum.nll / std::log(2.0) / static_cast<double>(bytes_),
                    .kl = sum.kl / n,
                    .top1 = sum.agreed / n,
                    .rows_kept = sum.rows_kept / windows,
                    .bytes_kept = sum.bytes_kept / windows,
                    .bytes_peak = sum.bytes_peak / windows,
                    .footprint = sum.footprint / windows,
                    .occupancy = sum.occupancy / windows,
                    .ms_per_token = sum.decode_ms / n});
  }
  return rows;
}

}  // namespace winnow
