// Scores of rows. Every score is computed by itself, and the sums below them run in a fixed order:
// the same bits on any number of threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/cpu/for_rows.h"
#include "src/cpu/simd.h"
#include "src/cpu/threads.h"
#include "src/cpu/winnow.h"
#include "src/kv/random_score.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kProducts = 8;  // multiplications that e^x or a random number is worth
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Calls score(head, entry) for every query head and every row that its mask shows it, and that
/// shows(h, entry).
template <class Shows, class F>
void score_rows(const ModelConfig& config, const KvRows& kv, const Zones& zones, int64_t work,
                const ScoreLists& lists, Shows&& shows, F&& score) {
  const int64_t group = config.group();
  for_rows(config, zones, work, [&](int64_t h, int64_t r) {
    const int64_t entry = kv.first[h] + r;
    const bool shown = shows(h, entry);
    for (int64_t g = 0; g < group; ++g) {
      const bool seen = shown && ((kv.mask[entry] >> g) & 1U) != 0;
      const int64_t head = h * group + g;
      lists.score[head * lists.stride + r] = seen ? score(head, entry) : kMinusInfinity;
    }
  });
}

/// What makes a list of scores a softmax: weight = e^(score - max) * inverse.
struct Softmax {
  float max = kMinusInfinity;
  float inverse = 0;  // 1 / sum; 0 where no row is seen

  /// 0 for a row that is not seen, also where none is: -infinity less itself would be NaN.
  float weight(float score) const {
    return score == kMinusInfinity ? 0.0F : cpu::exp(score - max) * inverse;
  }
};

/// scores [n]. A NaN among them becomes the sum's, and so does +infinity, less itself.
Softmax softmax_of(const float* scores, int64_t n) {
  float max = kMinusInfinity;
#pragma omp simd reduction(max : max)
  for (int64_t r = 0; r < n; ++r) max = std::max(max, scores[r]);
  double sum = 0;
  for (int64_t first = 0; first < n; first += kSpanRows) {  // short sums, then their sum
    float part = 0;
    const int64_t last = std::min(first + kSpanRows, n);
#pragma omp simd reduction(+ : part)
    for (int64_t r = first; r < last; ++r) {
      part += scores[r] == kMinusInfinity ? 0.0F : cpu::exp(scores[r] - max);
    }
    sum += part;
  }
  return {.max = max, .inverse = sum == 0 ? 0.0F : static_cast<float>(1.0 / sum)};
}

/// What mean, max or sum make of the group's scores of one row. A NaN among them stays.
/// softmax [group]; score [group, stride]
float combined(const Softmax* softmax, const float* score, int64_t stride, int64_t group,
               GroupScore how) {
  bool seen = false;
  float sum = 0;
  float max = 0;
  for (int64_t g = 0; g < group; ++g) {
    const float weight = softmax[g].weight(score[g * stride]);
    seen = seen || score[g * stride] != kMinusInfinity;
    sum += weight;
    max = std::max(max, weight);
  }
  if (!seen) return kMinusInfinity;
  if (std::isnan(sum)) return sum;
  switch (how) {
    case GroupScore::kMean: return sum / static_cast<float>(group);
    case GroupScore::kMax: return max;
    case GroupScore::kSum: return sum;
  }
  return sum;
}

}  // namespace

void attention_scores(const ModelConfig& config, const float* q, const KvRows& kv,
                      const Zones& zones, const ScoreLists& lists) {
  const int64_t head_dim = config.head_dim;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const auto score = [&](int64_t head, int64_t entry) {
    const float* query = q + head * head_dim;
    const float* key = static_cast<const float*>(kv.k) + entry * head_dim;
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < head_dim; ++d) dot += query[d] * key[d];
    return dot * scale;
  };
  // The query is that of the last row that is seen.
  const auto in_window = [&](int64_t h, int64_t entry) {
    return kv.in_window(entry, kv.window_start_of(kv.first[h] + zones.seen_rows(h) - 1));
  };
  score_rows(config, kv, zones, zones.max_rows * config.q_size(), lists, in_window, score);
}

void random_scores(const ModelConfig& config, uint64_t seed, const KvRows& kv, const Zones& zones,
                   const ScoreLists& lists) {
  const auto score = [&](int64_t head, int64_t entry) {
    return random_score(seed, head, kv.position[entry]);
  };
  const auto any = [](int64_t, int64_t) { return true; };
  score_rows(config, kv, zones, zones.max_rows * config.n_heads * kProducts, lists, any, score);
}

void combine_scores(const ModelConfig& config, const ScoreLists& from, GroupScore how,
                    const Zones& zones, const ScoreLists& to) {
  const int64_t group = config.group();
  const int64_t work = zones.max_rows * config.n_heads * kProducts;
  std::vector<Softmax> softmax(static_cast<size_t>(config.n_heads));
#pragma omp parallel for schedule(static) if (work >= kParallelWork)
  for (int64_t head = 0; head < config.n_heads; ++head) {
    softmax[static_cast<size_t>(head)] =
        softmax_of(from.score + head * from.stride, zones.rows[head / group]);
  }
  for_rows(config, zones, work, [&](int64_t h, int64_t r) {
    to.score[h * to.stride + r] =
        combined(&softmax[static_cast<size_t>(h * group)], from.score + h * group * from.stride + r,
                 from.stride, group, how);
  });
}

}  // namespace winnow::cpu
