#include "src/output_factor.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace winnow {
namespace {

// A pivot is a difference of fp32 numbers up to the greatest of the diagonal; what is under this
// part of that is their rounding.
constexpr double kPivotEps = 1e-6;

int64_t layer_floats(const ModelConfig& config) {
  return config.n_heads * config.head_dim * config.head_dim;
}

uint64_t layer_bytes(const ModelConfig& config) {
  return static_cast<uint64_t>(layer_floats(config)) * sizeof(float);
}

}  // namespace

uint64_t output_factor_bytes(const ModelConfig& config) {
  constexpr uint64_t kAlignment = Region::kAlignment;
  const uint64_t layer = (layer_bytes(config) + kAlignment - 1) / kAlignment * kAlignment;
  return static_cast<uint64_t>(config.n_layers) * layer;
}

/// Column by column: R[i][j] = (gram[i][j] - sum over k < j of R[i][k] R[j][k]) / R[j][j].
void factor_gram(std::span<float> gram, int64_t n) {
  const auto size = static_cast<size_t>(n);
  std::vector<double> r(size * size);
  double greatest = 0;
  for (size_t j = 0; j < size; ++j) greatest = std::max(greatest, double{gram[j * size + j]});
  for (size_t j = 0; j < size; ++j) {
    for (size_t i = j; i < size; ++i) {
      double rest = gram[i * size + j];
      for (size_t k = 0; k < j; ++k) rest -= r[i * size + k] * r[j * size + k];
      if (i == j) {
        if (rest <= kPivotEps * greatest) break;
        r[j * size + j] = std::sqrt(rest);
      } else {
        r[i * size + j] = rest / r[j * size + j];
      }
    }
  }
  std::copy(r.begin(), r.end(), gram.begin());
}

void make_output_factors(const ModelConfig& config, Device& device, ModelWeights& weights) {
  const int64_t gram_floats = config.head_dim * config.head_dim;
  std::vector<float> factors(static_cast<size_t>(layer_floats(config)));
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    LayerWeights& w = weights.layers[l];
    const std::string name = "layers." + std::to_string(l) + ".o_factor";
    auto* memory = static_cast<float*>(device.allocate(name, layer_bytes(config)));
    device.output_grams(w, memory);
    device.download(factors.data(), memory, layer_bytes(config));
#pragma omp parallel for schedule(static)
    for (int64_t head = 0; head < config.n_heads; ++head) {
      factor_gram(
          {&factors[static_cast<size_t>(head * gram_floats)], static_cast<size_t>(gram_floats)},
          config.head_dim);
    }
    device.upload(memory, factors.data(), layer_bytes(config));
    w.o_factor = memory;
  }
}

}  // namespace winnow
