// Scores that are made alike: over the KV heads of a layer, or over a run of neighbouring rows.
#include <algorithm>
#include <limits>

#include "src/cpu/for_rows.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// scores [n]
void make_alike(float* scores, int64_t n) {
  float sum = 0;
  int64_t n_seen = 0;
  for (int64_t r = 0; r < n; ++r) {
    if (scores[r] == kMinusInfinity) continue;
    sum += scores[r];
    ++n_seen;
  }
  for (int64_t r = 0; r < n; ++r) {
    if (scores[r] != kMinusInfinity) scores[r] = sum / static_cast<float>(n_seen);
  }
}

}  // namespace

void share_scores(const ModelConfig& config, const Zones& zones, const ScoreLists& lists) {
  for (int64_t r = 0; r < zones.max_rows; ++r) {
    float sum = 0;  // -infinity, once it is that
    int64_t n_holding = 0;
    for (int64_t h = 0; h < config.n_kv_heads; ++h) {
      if (r >= zones.rows[h]) continue;
      sum += lists.score[h * lists.stride + r];
      ++n_holding;
    }
    for (int64_t h = 0; h < config.n_kv_heads; ++h) {
      if (r >= zones.rows[h]) continue;
      lists.score[h * lists.stride + r] = sum / static_cast<float>(n_holding);
    }
  }
}

void chunk_scores(const ModelConfig& config, const Zones& zones, int64_t length,
                  const ScoreLists& lists) {
  const int64_t lists_per_head = lists.n / config.n_kv_heads;
#pragma omp parallel for schedule(static) if (lists.n * zones.max_rows >= kParallelWork)
  for (int64_t i = 0; i < lists.n; ++i) {
    const int64_t end = zones.end[i / lists_per_head];
    for (int64_t r = zones.begin[i / lists_per_head]; r < end; r += length) {
      make_alike(lists.score + i * lists.stride + r, std::min(length, end - r));
    }
  }
}

}  // namespace winnow::cpu
