// What is done to lists of scores between scoring and the cut. A score is changed by itself, or
// together with its neighbours; only normalize_scores sums up, in a fixed order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/cpu/threads.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kSpanRows = 512;  // of a task, and of a sum in fp32
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Calls f(list, first, last) for spans of the zone of every list, on all threads where the scores
/// are many.
template <class F>
void for_spans(const ModelConfig& config, const ScoreLists& lists, const Zones& zones, F&& f) {
  const int64_t n_spans = (zones.max_rows + kSpanRows - 1) / kSpanRows;
#pragma omp parallel for schedule(static) if (lists.n * zones.max_rows * 8 >= kParallelWork)
  for (int64_t task = 0; task < lists.n * n_spans; ++task) {
    const int64_t list = task / n_spans;
    const int64_t h = list / (lists.n / config.n_kv_heads);
    const int64_t first = zones.begin[h] + task % n_spans * kSpanRows;
    const int64_t last = std::min<int64_t>(first + kSpanRows, zones.end[h]);
    if (first < last) f(list, first, last);
  }
}

/// Mean, max or sum of the scores of one row that are not -infinity; a NaN stays.
/// score [n, stride]
float grouped(const float* score, int64_t stride, int64_t n, GroupScore how) {
  float sum = 0;
  float max = kMinusInfinity;
  for (int64_t g = 0; g < n; ++g) {
    const float s = score[g * stride];
    if (s == kMinusInfinity) continue;
    sum += s;
    max = std::max(max, s);
    if (std::isnan(s)) return s;
  }
  if (max == kMinusInfinity) return max;
  switch (how) {
    case GroupScore::kMean: return sum / static_cast<float>(n);
    case GroupScore::kMax: return max;
    case GroupScore::kSum: return sum;
  }
  return sum;
}

/// One pooled score.  score [first, last) are those around the row.
float pooled(const float* score, int64_t first, int64_t last, int64_t width, Pool how) {
  float sum = 0;
  float max = kMinusInfinity;
  for (int64_t r = first; r < last; ++r) {
    if (score[r] == kMinusInfinity) continue;
    sum += score[r];
    max = std::max(max, score[r]);
    if (std::isnan(score[r])) return score[r];
  }
  return how == Pool::kMax ? max : sum / static_cast<float>(width);
}

}  // namespace

void group_scores(const ModelConfig& config, const ScoreLists& from, GroupScore how,
                  const Zones& zones, const ScoreLists& to) {
  const int64_t group = from.n / to.n;
  for_spans(config, to, zones, [&](int64_t h, int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const float* score = from.score + h * group * from.stride + r;
      to.score[h * to.stride + r] = grouped(score, from.stride, group, how);
    }
  });
}

void scale_scores(const ModelConfig& config, const ScoreLists& lists, float add,
                  const ScoreLists& by, const Zones& zones) {
  for_spans(config, lists, zones, [&](int64_t list, int64_t first, int64_t last) {
    float* score = lists.score + list * lists.stride;
    const float* factor = by.score + list * by.stride;
    for (int64_t r = first; r < last; ++r) {
      if (factor[r] == kMinusInfinity) score[r] = factor[r];
      if (!std::isinf(score[r])) score[r] = (score[r] + add) * factor[r];
    }
  });
}

void pool_scores(const ModelConfig& config, const ScoreLists& from, int64_t width, Pool how,
                 const Zones& zones, const ScoreLists& to) {
  for_spans(config, from, zones, [&](int64_t list, int64_t first, int64_t last) {
    const int64_t h = list / (from.n / config.n_kv_heads);
    const float* score = from.score + list * from.stride;
    for (int64_t r = first; r < last; ++r) {
      const int64_t around = std::max<int64_t>(r - width / 2, zones.begin[h]);
      const int64_t end = std::min<int64_t>(r + width / 2 + 1, zones.end[h]);
      const bool seen = score[r] != kMinusInfinity;
      to.score[list * to.stride + r] =
          seen ? pooled(score, around, end, width, how) : kMinusInfinity;
    }
  });
}

void normalize_scores(const ModelConfig& config, const ScoreLists& lists, const Zones& zones) {
  const int64_t n_spans = (zones.max_rows + kSpanRows - 1) / kSpanRows;
  std::vector<float> parts(static_cast<size_t>(lists.n * n_spans));
  const int64_t per_head = lists.n / config.n_kv_heads;
  for_spans(config, lists, zones, [&](int64_t list, int64_t first, int64_t last) {
    const float* score = lists.score + list * lists.stride;
    float sum = 0;
    for (int64_t r = first; r < last; ++r) sum += score[r] == kMinusInfinity ? 0.0F : score[r];
    const int64_t span = (first - zones.begin[list / per_head]) / kSpanRows;
    parts[static_cast<size_t>(list * n_spans + span)] = sum;
  });
  double total = 0;
  for (const float part : parts) total += double{part};
  if (total == 0) return;
  const auto divisor = static_cast<float>(total);
  for_spans(config, lists, zones, [&](int64_t list, int64_t first, int64_t last) {
    float* score = lists.score + list * lists.stride;
    for (int64_t r = first; r < last; ++r) {
      if (score[r] != kMinusInfinity) score[r] /= divisor;
    }
  });
}

void promote_scores(const ModelConfig& config, const Zones& zones, const ScoreLists& lists) {
  for_spans(config, lists, zones, [&](int64_t list, int64_t first, int64_t last) {
    float* score = lists.score + list * lists.stride;
    for (int64_t r = first; r < last; ++r) {
      if (lists.cut[list].takes(score[r], r)) score[r] = std::numeric_limits<float>::infinity();
    }
  });
}

}  // namespace winnow::cpu
