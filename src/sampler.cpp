#include "src/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "src/base/error.h"

namespace winnow {
namespace {

constexpr uint64_t kGoldenRatio = 0x9E3779B97F4A7C15U;  // 2^64 / phi, odd

/// The finaliser of splitmix64: a bijection in which every input bit moves every output bit.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

// Sorting whole numbers is faster than sorting pairs, and leaves no doubt about the order:
//
//   key = | logit, turned so that the greatest comes first : 32 | id : 32 |
//
// As unsigned numbers, the bits of positive floats ascend with their value and those of negative
// floats descend. Inverting the positive ones (all but the sign) makes the whole line descend.
uint64_t sort_key(float logit, size_t id) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.0F);  // -0 becomes +0: they are a tie
  const bool negative = (bits >> 31) != 0;
  const uint32_t descending = negative ? bits : bits ^ 0x7FFFFFFFU;
  return uint64_t{descending} << 32 | static_cast<uint32_t>(id);
}

/// The ids of the `k` greatest logits (all where k > vocab), greatest first, ties by id.
std::vector<int32_t> greatest(std::span<const float> logits, size_t k) {
  std::vector<uint64_t> keys(logits.size());
  for (size_t id = 0; id < logits.size(); ++id) keys[id] = sort_key(logits[id], id);
  if (k < keys.size()) {
    std::nth_element(keys.begin(), keys.begin() + static_cast<ptrdiff_t>(k), keys.end());
    keys.resize(k);
  }
  std::sort(keys.begin(), keys.end());

  std::vector<int32_t> ids(keys.size());
  std::transform(keys.begin(), keys.end(), ids.begin(),
                 [](uint64_t key) { return static_cast<int32_t>(key & 0xFFFFFFFFU); });
  return ids;
}

double sum(const std::vector<Candidate>& list) {
  double total = 0;
  for (const Candidate& candidate : list) total += candidate.probability;
  return total;
}

/// Keeps the shortest prefix that holds at least the share `p` of all weights.
void keep_top_p(std::vector<Candidate>& list, double p) {
  const double enough = p * sum(list);
  double reached = 0;
  size_t n = 0;
  while (n < list.size() && (n == 0 || reached < enough)) reached += list[n++].probability;
  list.resize(n);
}

/// Keeps the weights of at least `p` times the first, which is the greatest and stays.
void keep_min_p(std::vector<Candidate>& list, double p) {
  const double enough = std::min(p, 1.0) * list.front().probability;
  std::erase_if(list, [=](const Candidate& c) { return c.probability < enough; });
}

}  // namespace

double uniform(uint64_t seed, uint64_t step) {
  const uint64_t stream = mix(seed + kGoldenRatio);
  const uint64_t bits = mix(stream + step * kGoldenRatio);
  return static_cast<double>(bits >> 11) * 0x1p-53;  // 53 bits are what a double holds
}

// e^x = 2^n * e^r with n = round(x / ln 2) and |r| <= ln(2)/2, where the Taylor series of degree 13
// is exact to the last bit: r^14/14! < 5e-18. ln 2 is split in two so that n * kLn2High is exact.
double exp_portable(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42feep-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr int kDegree = 13;
  if (x < -708) return 0;
  if (x > 709) return std::numeric_limits<double>::infinity();

  const double n = std::floor(x * kLog2E + 0.5);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double series = 1;
  for (int i = kDegree; i >= 1; --i) series = 1 + series * r / i;
  const auto exponent = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023);
  return series * std::bit_cast<double>(exponent << 52);
}

void apply_repeat_penalty(std::span<float> logits, std::span<const uint8_t> seen, float penalty) {
  WINNOW_CHECK(seen.size() == logits.size(), seen.size(), " marks for ", logits.size(), " logits");
  for (size_t id = 0; id < logits.size(); ++id) {
    if (seen[id] != 0) logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
}

std::vector<Candidate> candidates(std::span<const float> logits, const SamplerOptions& options) {
  WINNOW_CHECK(options.temperature > 0, "temperature ", options.temperature);
  const auto top = static_cast<size_t>(argmax(logits));
  const bool all = options.top_k <= 0;
  const auto ids = greatest(logits, all ? logits.size() : static_cast<size_t>(options.top_k));

  // Weights exp((logit - greatest logit) / temperature): softmax but for its denominator.
  const double greatest_logit = logits[top];
  std::vector<Candidate> list;
  list.reserve(ids.size());
  for (const int32_t id : ids) {
    const double below = double{logits[static_cast<size_t>(id)]} - greatest_logit;
    const double weight = exp_portable(below / options.temperature);
    if (weight > 0) list.push_back({id, weight});
  }
  if (options.top_p < 1) keep_top_p(list, options.top_p);
  if (options.min_p > 0) keep_min_p(list, options.min_p);

  const double total = sum(list);
  for (Candidate& candidate : list) candidate.probability /= total;
  return list;
}

int32_t argmax(std::span<const float> logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float best = -kInfinity;
  size_t best_id = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] > best) {
      best = logits[id];
      best_id = id;
    } else if (std::isnan(logits[id])) {
      fail(ExitCode::kInternal, "logits are not finite (NaN at id ", id, ")");
    }
  }
  if (best == kInfinity) {
    fail(ExitCode::kInternal, "logits are not finite (infinity at id ", best_id, ")");
  }
  if (best == -kInfinity) {
    fail(ExitCode::kInternal, "logits are not finite (all ", logits.size(), " are -infinity)");
  }
  return static_cast<int32_t>(best_id);
}

int32_t sample(std::span<float> logits, const SamplerOptions& options,
               std::span<const uint8_t> seen, uint64_t step) {
  if (options.repeat_penalty != 1) apply_repeat_penalty(logits, seen, options.repeat_penalty);
  if (options.temperature == 0) return argmax(logits);

  const std::vector<Candidate> list = candidates(logits, options);
  const double drawn = uniform(options.seed, step);
  double reached = 0;
  for (const Candidate& candidate : list) {
    reached += candidate.probability;
    if (drawn < reached) return candidate.id;
  }
  return list.back().id;  // the probabilities sum to 1 only up to rounding
}

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int32_t id, int32_t k) {
  WINNOW_CHECK(id >= 0 && static_cast<size_t>(id) < logits.size(), "id ", id);
  WINNOW_CHECK(k >= 0, "k ", k);
  const double greatest_logit = logits[static_cast<size_t>(argmax(logits))];
  double total = 0;
  for (const float logit : logits) total += exp_portable(logit - greatest_logit);
  const double log_total = greatest_logit + std::log(total);

  std::vector<TokenLogprob> list;
  const auto add = [&](int32_t token) {
    list.push_back({token, logits[static_cast<size_t>(token)] - log_total});
  };
  add(id);
  for (const int32_t token : greatest(logits, static_cast<size_t>(k))) add(token);
  return list;
}

}  // namespace winnow
