#include "src/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace winnow {
namespace {

/// 2i / head_dim
float exponent_of(int64_t i, int64_t head_dim) {
  return static_cast<float>(2 * i) / static_cast<float>(head_dim);
}

void scale_linear(const ModelConfig& config, RopeFrequencies& frequencies) {
  for (float& value : frequencies.value) value /= static_cast<float>(config.rope.factor);
}

double dynamic_theta(const ModelConfig& config, int64_t n_tokens) {
  const RopeScaling& rope = config.rope;
  const auto d = static_cast<double>(config.head_dim);
  const double times = static_cast<double>(n_tokens) / static_cast<double>(rope.original_positions);
  const double growth = rope.factor * times - (rope.factor - 1);
  return config.rope_theta * std::pow(growth, d / (d - 2));
}

/// The kernel computes the same for decode steps: in double precision, rounded once.
void scale_dynamic(const ModelConfig& config, int64_t n_tokens, RopeFrequencies& frequencies) {
  const RopeScaling& rope = config.rope;
  if (n_tokens == 0) {
    frequencies.dynamic = {config.rope_theta, rope.factor, rope.original_positions};
    return;
  }
  if (n_tokens <= rope.original_positions) return;
  const double theta = dynamic_theta(config, n_tokens);
  const auto d = static_cast<double>(config.head_dim);
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const double exponent = static_cast<double>(2 * i) / d;
    frequencies.value[i] = static_cast<float>(1 / std::pow(theta, exponent));
  }
}

/// The pair, as a real number, that turns `turns` times in the tokens of the training.
double pair_that_turns(const ModelConfig& config, double turns) {
  const auto positions = static_cast<double>(config.rope.original_positions);
  const double wave = positions / (turns * 2 * std::numbers::pi);
  return static_cast<double>(config.head_dim) * std::log(wave) / (2 * std::log(config.rope_theta));
}

void scale_yarn(const ModelConfig& config, RopeFrequencies& frequencies) {
  const RopeScaling& rope = config.rope;
  double low = pair_that_turns(config, rope.beta_fast);
  double high = pair_that_turns(config, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim - 1));
  if (low == high) high += 0.001;  // the ramp is a step
  frequencies.scale = static_cast<float>(rope.attention_factor);
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const auto theta = static_cast<float>(config.rope_theta);
    const float period = std::pow(theta, exponent_of(i, config.head_dim));
    const float kept = 1.0F / period;
    const float stretched = 1.0F / (static_cast<float>(rope.factor) * period);
    const float place = static_cast<float>(i) - static_cast<float>(low);
    const float ramp = std::clamp(place / static_cast<float>(high - low), 0.0F, 1.0F);
    const float keep = 1.0F - ramp;
    frequencies.value[i] = stretched * (1.0F - keep) + kept * keep;
  }
}

void scale_llama3(const ModelConfig& config, RopeFrequencies& frequencies) {
  const RopeScaling& rope = config.rope;
  const auto positions = static_cast<double>(rope.original_positions);
  const auto factor = static_cast<float>(rope.factor);
  const auto longest = static_cast<float>(positions / rope.low_freq_factor);
  const auto shortest = static_cast<float>(positions / rope.high_freq_factor);
  const auto low = static_cast<float>(rope.low_freq_factor);
  const auto range = static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    float& value = frequencies.value[i];
    const float wave = static_cast<float>(2 * std::numbers::pi) / value;
    if (wave < shortest) continue;
    if (wave > longest) {
      value /= factor;
      continue;
    }
    const float smooth = (static_cast<float>(positions) / wave - low) / range;
    value = (1.0F - smooth) * value / factor + smooth * value;
  }
}

}  // namespace

RopeFrequencies rope_frequencies(double theta, int64_t head_dim) {
  RopeFrequencies frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    frequencies.value[i] = 1.0F / std::pow(static_cast<float>(theta), exponent_of(i, head_dim));
  }
  return frequencies;
}

/// Angles are rounded to fp32, as they are where a token is rotated.
MeanRotation mean_rotation(const RopeFrequencies& frequencies, int64_t head_dim, int64_t position,
                           int64_t n) {
  MeanRotation mean;
  const double share = static_cast<double>(frequencies.scale) / static_cast<double>(n);
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    double cosine = 0;
    double sine = 0;
    for (int64_t place = position; place < position + n; ++place) {
      const double angle = static_cast<float>(place) * frequencies.value[i];
      cosine += std::cos(angle);
      sine += std::sin(angle);
    }
    mean.cosine[i] = static_cast<float>(cosine * share);
    mean.sine[i] = static_cast<float>(sine * share);
  }
  return mean;
}

RopeFrequencies rope_frequencies(const ModelConfig& config, int64_t n_tokens) {
  RopeFrequencies frequencies = rope_frequencies(config.rope_theta, config.head_dim);
  switch (config.rope.type) {
    case RopeType::kDefault: break;
    case RopeType::kLinear: scale_linear(config, frequencies); break;
    case RopeType::kDynamic: scale_dynamic(config, n_tokens, frequencies); break;
    case RopeType::kYarn: scale_yarn(config, frequencies); break;
    case RopeType::kLlama3: scale_llama3(config, frequencies); break;
  }
  return frequencies;
}

}  // namespace winnow
