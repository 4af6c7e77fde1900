// What attention rows are to expect: the mean and covariance of a text's queries, turned to the
// places to come. The formulas are at Device::expected_scores.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/cpu/for_rows.h"
#include "src/cpu/ops.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kSumRows = 256;  // queries that are added up in fp32, before double takes over

/// The batch's rows whose queries count, and the cosines and sines that turned them.
struct CountedRows {
  std::vector<int64_t> row;
  std::vector<float> cos_sin;  // [row.size(), head_dim]
};

CountedRows counted_rows(const Batch& batch, const RopeFrequencies& frequencies, int64_t head_dim) {
  CountedRows counted;
  for (int64_t i = 0; i < batch.n; ++i) {
    if (batch.position[i] >= QueryStatistics::kSkipped) counted.row.push_back(i);
  }
  const auto n = static_cast<int64_t>(counted.row.size());
  counted.cos_sin.resize(static_cast<size_t>(n * head_dim));
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    rope_angles(batch.position[counted.row[static_cast<size_t>(i)]], frequencies, head_dim,
                &counted.cos_sin[static_cast<size_t>(i * head_dim)]);
  }
  return counted;
}

/// rope() the other way round. Cosines and sines are `scale` times too long, and so is y.
///   x[i] = (y[i] cos + y[half + i] sin) / scale^2
void turn_back(const float* y, const float* cos_sin, float scale, int64_t head_dim, float* x) {
  const int64_t half = head_dim / 2;
  const float inverse = 1.0F / (scale * scale);
  for (int64_t i = 0; i < half; ++i) {
    x[i] = (y[i] * cos_sin[i] + y[half + i] * cos_sin[half + i]) * inverse;
    x[half + i] = (y[half + i] * cos_sin[i] - y[i] * cos_sin[half + i]) * inverse;
  }
}

/// Adds `n` queries of one head.  q [n, head_dim]; sum [head_dim]; products [head_dim, head_dim]
void add_queries(const std::vector<float>& q, int64_t n, int64_t head_dim, float* sum,
                 float* products) {
  for (int64_t a = 0; a < head_dim; ++a) {
    double total = 0;
    double totals[kMaxHeadDim] = {};
    for (int64_t first = 0; first < n; first += kSumRows) {
      float parts[kMaxHeadDim] = {};
      for (int64_t i = first; i < std::min(first + kSumRows, n); ++i) {
        const float* query = &q[static_cast<size_t>(i * head_dim)];
        total += static_cast<double>(query[a]);
        for (int64_t b = 0; b < head_dim; ++b) parts[b] += query[a] * query[b];
      }
      for (int64_t b = 0; b < head_dim; ++b) totals[b] += static_cast<double>(parts[b]);
    }
    sum[a] = static_cast<float>(static_cast<double>(sum[a]) + total);
    for (int64_t b = 0; b < head_dim; ++b) {
      float& product = products[a * head_dim + b];
      product = static_cast<float>(static_cast<double>(product) + totals[b]);
    }
  }
}

/// The queries to come, as one head's scores need them:
/// z = (mean + covariance k) k, of m' / sqrt(head_dim) and C' / (2 head_dim).
struct ExpectedQueries {
  std::vector<float> mean;        // [head_dim]
  std::vector<float> covariance;  // [head_dim, head_dim]

  float logit(const float* key) const {
    const size_t head_dim = mean.size();
    float z = 0;
    for (size_t a = 0; a < head_dim; ++a) {
      const float* row = &covariance[a * head_dim];
      float dot = 0;
#pragma omp simd reduction(+ : dot)
      for (size_t b = 0; b < head_dim; ++b) dot += row[b] * key[b];
      z += (mean[a] + dot) * key[a];
    }
    return z;
  }
};

/// Pairs of a matrix's rows (`step` is its width) or columns (1) are turned by the mean rotation.
/// x [head_dim, head_dim] or [head_dim]
void rotate(const MeanRotation& by, int64_t head_dim, int64_t step, double* x) {
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double low = x[i * step];
    const double high = x[(half + i) * step];
    const auto cosine = static_cast<double>(by.cosine[i]);
    const auto sine = static_cast<double>(by.sine[i]);
    x[i * step] = low * cosine - high * sine;
    x[(half + i) * step] = high * cosine + low * sine;
  }
}

/// sum [head_dim]; products [head_dim, head_dim]
ExpectedQueries expect(const float* sum, const float* products, int64_t n, int64_t head_dim,
                       const MeanRotation& by) {
  const double share = n > 0 ? 1.0 / static_cast<double>(n) : 0.0;
  std::vector<double> mean(sum, sum + head_dim);
  std::vector<double> covariance(products, products + head_dim * head_dim);
  for (double& x : mean) x *= share;
  for (int64_t i = 0; i < head_dim * head_dim; ++i) {
    double& x = covariance[static_cast<size_t>(i)];
    x = x * share -
        mean[static_cast<size_t>(i / head_dim)] * mean[static_cast<size_t>(i % head_dim)];
  }
  rotate(by, head_dim, 1, mean.data());
  for (int64_t a = 0; a < head_dim; ++a) {  // C R^T, row by row
    rotate(by, head_dim, 1, &covariance[static_cast<size_t>(a * head_dim)]);
  }
  for (int64_t b = 0; b < head_dim; ++b) {  // R (C R^T), column by column
    rotate(by, head_dim, head_dim, &covariance[static_cast<size_t>(b)]);
  }
  const auto d = static_cast<double>(head_dim);
  ExpectedQueries expected;
  for (const double x : mean) expected.mean.push_back(static_cast<float>(x / std::sqrt(d)));
  for (const double x : covariance) expected.covariance.push_back(static_cast<float>(x / (2 * d)));
  return expected;
}

float length_of(const float* x, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return std::sqrt(sum);
}

}  // namespace

void add_query_statistics(const ModelConfig& config, const Batch& batch,
                          const RopeFrequencies& frequencies, const float* q,
                          const QueryStatistics& statistics) {
  const int64_t head_dim = config.head_dim;
  const CountedRows counted = counted_rows(batch, frequencies, head_dim);
  const auto n = static_cast<int64_t>(counted.row.size());
#pragma omp parallel for schedule(static) if (n * config.q_size() * head_dim >= kParallelWork)
  for (int64_t head = 0; head < config.n_heads; ++head) {
    std::vector<float> turned(static_cast<size_t>(n * head_dim));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t row = counted.row[static_cast<size_t>(i)];
      const auto at = static_cast<size_t>(i * head_dim);
      turn_back(q + (row * config.n_heads + head) * head_dim, &counted.cos_sin[at],
                frequencies.scale, head_dim, &turned[at]);
    }
    add_queries(turned, n, head_dim, statistics.sum + head * head_dim,
                statistics.products + head * head_dim * head_dim);
  }
}

void expected_scores(const ModelConfig& config, const QueryStatistics& statistics,
                     const Outlook& outlook, const MeanRotation& rotation, const KvRows& kv,
                     const Zones& zones, const ScoreLists& logits, const ScoreLists& lists) {
  const int64_t head_dim = config.head_dim;
  const int64_t group = config.group();
  std::vector<ExpectedQueries> expected;
  for (int64_t head = 0; head < config.n_heads; ++head) {
    expected.push_back(expect(statistics.sum + head * head_dim,
                              statistics.products + head * head_dim * head_dim, outlook.n_queries,
                              head_dim, rotation));
  }
  const int64_t work = zones.max_rows * config.q_size() * head_dim;
  for_rows(config, zones, work, [&](int64_t h, int64_t r) {
    const int64_t entry = kv.first[h] + r;
    const float* key = static_cast<const float*>(kv.k) + entry * head_dim;
    const bool shown = kv.in_window(entry, kv.window_start_of(kv.first[h] + zones.rows[h] - 1));
    for (int64_t g = 0; g < group; ++g) {
      const bool seen = shown && ((kv.mask[entry] >> g) & 1U) != 0;
      const int64_t head = h * group + g;
      logits.score[head * logits.stride + r] =
          seen ? expected[static_cast<size_t>(head)].logit(key) : kMinusInfinity;
    }
  });
  combine_scores(config, logits, GroupScore::kMean, zones, lists);
  for_rows(config, zones, zones.max_rows * config.kv_size(), [&](int64_t h, int64_t r) {
    const float* value = static_cast<const float*>(kv.v) + (kv.first[h] + r) * head_dim;
    float& score = lists.score[h * lists.stride + r];
    if (score == kMinusInfinity) return;
    score = (score + outlook.epsilon) * length_of(value, head_dim);
  });
}

}  // namespace winnow::cpu
