// From logits to the next token: greedy, or a draw after the usual filters.
//
// The order is that of Hugging Face's processors: repeat penalty, temperature, top-k, top-p, min-p.
// Given the same logits the result is the same on every platform: the generator is counted, the
// exponential is our own, sums run in a fixed order in double precision, and ties go to the lower
// id. sampler.cpp must be compiled with -ffp-contract=off: a fused multiply-add rounds once where
// other machines round twice.
//
// A logit of -infinity masks its token. All logits are [vocab].
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace winnow {

struct SamplerOptions {
  float temperature = 0;     // 0: greedy
  int32_t top_k = 0;         // 0: off; else the k most probable
  float top_p = 1;           // 1: off; else the smallest set of the most probable that reaches p
  float min_p = 0;           // 0: off; else at least min_p times the greatest probability
  float repeat_penalty = 1;  // 1: off; logits of seen tokens are divided (> 0) or multiplied (< 0)
  uint64_t seed = 0;

  bool operator==(const SamplerOptions&) const = default;
};

/// A uniform number in [0, 1), a function of (seed, step) alone: any step can be drawn without the
/// ones before it, on the host or on a device.
double uniform(uint64_t seed, uint64_t step);

/// e^x from additions and multiplications alone, relative error under 1e-15; 0 below -708, where
/// results would be denormal, and infinity above 709. `x` is not NaN.
double exp_portable(double x);

/// A candidate with its probability.
struct Candidate {
  int32_t id = 0;
  double probability = 0;
};

/// Divides (> 0) or multiplies (< 0) the logit of every token whose mark in `seen` [vocab] is not
/// 0.
void apply_repeat_penalty(std::span<float> logits, std::span<const uint8_t> seen, float penalty);

/// The candidates that are left after temperature, top-k, top-p and min-p, greatest logit first
/// (ties: lower id first), their probabilities summing to 1. Never empty; masked tokens are never
/// among them. Temperature must be over 0. Fails like argmax.
std::vector<Candidate> candidates(std::span<const float> logits, const SamplerOptions& options);

/// The id of the greatest logit, the lowest on ties. Fails with kInternal where a logit is NaN or
/// +infinity, or all are -infinity.
int32_t argmax(std::span<const float> logits);

/// The next token for step `step` of a run. `seen` [vocab] marks the tokens so far for the
/// repeat penalty; it may be empty where that is 1. `logits` may be changed. Fails like argmax.
int32_t sample(std::span<float> logits, const SamplerOptions& options,
               std::span<const uint8_t> seen, uint64_t step);

/// A token with the natural logarithm of its probability.
struct TokenLogprob {
  int32_t id = 0;
  double logprob = 0;
};

/// log(softmax(logits)) of `id`, then of the `k` most probable ids (ties: lower id first; all where
/// k > vocab): 1 + min(k, vocab) entries. Fails like argmax.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int32_t id, int32_t k);

}  // namespace winnow
