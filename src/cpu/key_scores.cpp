// Scores of rows by their keys alone. Every score is computed by itself, and sums run in a fixed
// order: the same bits on any number of threads.
#include <cmath>
#include <limits>
#include <vector>

#include "src/cpu/for_rows.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// What makes a vector of that length one of length 1; 0 for a length of 0. A NaN stays.
float inverse_of(float length) {
  return length == 0 ? 0.0F : 1.0F / length;
}

const float* key_of(const ModelConfig& config, const KvRows& kv, int64_t h, int64_t r) {
  return static_cast<const float*>(kv.k) + (kv.first[h] + r) * config.head_dim;
}

/// The sum of k / ||k|| over rows [first, last) of KV head h.  to [head_dim], zeros before
void add_directions(const ModelConfig& config, const KvRows& kv, int64_t h, int64_t first,
                    int64_t last, float* to) {
  for (int64_t r = first; r < last; ++r) {
    const float* key = key_of(config, kv, h, r);
    const float inverse = inverse_of(std::sqrt(dot(key, key, config.head_dim)));
    for (int64_t d = 0; d < config.head_dim; ++d) to[d] += key[d] * inverse;
  }
}

/// Where the keys of every KV head point on average, at length 1: sums over spans of rows, then
/// their sum.  [n_kv_heads, head_dim]
std::vector<float> mean_directions(const ModelConfig& config, const KvRows& kv,
                                   const Zones& zones) {
  const int64_t head_dim = config.head_dim;
  const int64_t n_spans = (zones.max_rows + kSpanRows - 1) / kSpanRows;
  std::vector<float> spans(static_cast<size_t>(n_spans * config.kv_size()));
#pragma omp parallel for schedule(static) if (zones.max_rows * config.kv_size() >= kParallelWork)
  for (int64_t task = 0; task < config.n_kv_heads * n_spans; ++task) {
    const int64_t h = task / n_spans;
    const int64_t first = task % n_spans * kSpanRows;
    const int64_t last = std::min<int64_t>(first + kSpanRows, zones.rows[h]);
    add_directions(config, kv, h, first, last, &spans[static_cast<size_t>(task * head_dim)]);
  }
  std::vector<float> means(static_cast<size_t>(config.kv_size()));
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    std::vector<double> sum(static_cast<size_t>(head_dim));
    for (int64_t i = 0; i < n_spans * head_dim; ++i) {
      sum[static_cast<size_t>(i % head_dim)] +=
          static_cast<double>(spans[static_cast<size_t>(h * n_spans * head_dim + i)]);
    }
    double square = 0;
    for (const double x : sum) square += x * x;
    const double inverse = square == 0 ? 0.0 : 1 / std::sqrt(square);
    for (int64_t d = 0; d < head_dim; ++d) {
      means[static_cast<size_t>(h * head_dim + d)] =
          static_cast<float>(sum[static_cast<size_t>(d)] * inverse);
    }
  }
  return means;
}

}  // namespace

void key_norms(const ModelConfig& config, const KvRows& kv, const Zones& zones,
               const ScoreLists& lists) {
  for_rows(config, zones, zones.max_rows * config.kv_size(), [&](int64_t h, int64_t r) {
    const float* key = key_of(config, kv, h, r);
    const float norm = std::sqrt(dot(key, key, config.head_dim));
    lists.score[h * lists.stride + r] =
        seen_by_any(config, kv, zones, h, r) ? -norm : kMinusInfinity;
  });
}

void key_differences(const ModelConfig& config, const KvRows& kv, const Zones& zones,
                     const ScoreLists& lists) {
  const std::vector<float> means = mean_directions(config, kv, zones);
  for_rows(config, zones, 2 * zones.max_rows * config.kv_size(), [&](int64_t h, int64_t r) {
    const float* key = key_of(config, kv, h, r);
    const float* mean = &means[static_cast<size_t>(h * config.head_dim)];
    const float inverse = inverse_of(std::sqrt(dot(key, key, config.head_dim)));
    const float cosine = dot(key, mean, config.head_dim) * inverse;
    lists.score[h * lists.stride + r] =
        seen_by_any(config, kv, zones, h, r) ? -cosine : kMinusInfinity;
  });
}

}  // namespace winnow::cpu
