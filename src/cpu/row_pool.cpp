// The rows of all layers in one pool, out of which rows leave while layers are added to it.
#include <algorithm>
#include <cstring>
#include <limits>

#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Calls f(s, entry) for the rows that the cut takes, in their order.
template <class F>
void for_taken(const RowPool& pool, const Cut& cut, F&& f) {
  for (int64_t s = 0; s < pool.n_segments; ++s) {
    for (int64_t entry = pool.first[s]; entry < pool.first[s] + pool.rows[s]; ++entry) {
      if (cut.takes(pool.score[entry], entry)) f(s, entry);
    }
  }
}

}  // namespace

void set_aside(const ModelConfig& config, const Zones& zones, const ScoreLists& lists,
               float outside) {
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    float* const score = lists.score + h * lists.stride;
    std::fill(score, score + zones.begin[h], outside);
    std::fill(score + zones.end[h], score + zones.rows[h], outside);
    std::fill(score + zones.rows[h], score + lists.stride, kMinusInfinity);
  }
}

void take_scores(const ModelConfig& config, const ScoreLists& lists, const KeptRows& kept,
                 const int64_t* first, float* to) {
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    for (int64_t i = 0; i < kept.count[h]; ++i) {
      to[first[h] + i] = lists.score[h * lists.stride + kept.row[h * kept.stride + i]];
    }
  }
}

void count_taken(const RowPool& pool, const Cut& cut, int32_t* taken) {
  std::fill_n(taken, pool.n_segments, 0);
  for_taken(pool, cut, [&](int64_t s, int64_t) { ++taken[s]; });
}

/// No row moves up, and lower rows move first: none is overwritten before it was moved.
void squeeze_rows(const ModelConfig& config, const RowPool& pool, const Cut& cut,
                  const RowMove& move, float* spare) {
  const int64_t head_dim = config.head_dim;
  std::fill_n(spare, pool.entries, kMinusInfinity);
  int64_t segment = -1;
  int64_t to = 0;
  for_taken(pool, cut, [&](int64_t s, int64_t from) {
    if (s != segment) to = move.first[s];
    segment = s;
    spare[to] = pool.score[from];
    for (void* const rows : {pool.k, pool.v}) {
      float* const elements = static_cast<float*>(rows);
      std::memmove(elements + to * head_dim, elements + from * head_dim,
                   static_cast<size_t>(head_dim) * sizeof(float));
    }
    pool.position[to] = pool.position[from];
    pool.mask[to] = pool.mask[from];
    ++to;
  });
  std::copy_n(spare, pool.entries, pool.score);
}

}  // namespace winnow::cpu
