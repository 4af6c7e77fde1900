#include "src/cpu/winnow.h"

#include <algorithm>

#include "src/cpu/ops.h"
#include "src/cpu/threads.h"

namespace winnow::cpu {
namespace {

/// The row of KV head h whose place_of() is `place`.
int64_t row_at(const KvRows& kv, int64_t h, int64_t place) {
  const int64_t ring_rows = kv.ring_rows[h];
  const int64_t ring_first = kv.visible[h] - ring_rows;
  if (ring_rows == 0 || place < ring_first) return place;
  const int64_t oldest = kv.slot[h] - ring_first + 1;  // the row at slot is the newest
  return ring_first + (oldest + place - ring_first) % ring_rows;
}

/// Bit j: of the `n` lists from `first` on, list j takes row r.
uint32_t takers_of(const ScoreLists& lists, int64_t first, int64_t n, int64_t r) {
  uint32_t takers = 0;
  for (int64_t j = 0; j < n; ++j) {
    const float score = lists.score[(first + j) * lists.stride + r];
    if (lists.cut[first + j].takes(score, r)) takers |= 1U << j;
  }
  return takers;
}

void copy_row(const void* from, int64_t from_entry, void* to, int64_t to_entry, int64_t head_dim) {
  std::copy_n(static_cast<const float*>(from) + from_entry * head_dim, head_dim,
              static_cast<float*>(to) + to_entry * head_dim);
}

}  // namespace

void rotate_rows(const ModelConfig& config, const KvRows& kv) {
  const int64_t head_dim = config.head_dim;
  const int64_t n_places = *std::max_element(kv.visible, kv.visible + config.n_kv_heads);
  const int64_t work = 2 * n_places * config.kv_size();
  const RopeFrequencies frequencies = rope_frequencies(config, 0);
  // Place by place, so that its angles are computed once for all heads.
#pragma omp parallel for schedule(static) if (work >= kParallelWork)
  for (int64_t place = 0; place < n_places; ++place) {
    float cos_sin[kMaxHeadDim];
    rope_angles(static_cast<int32_t>(place), frequencies, head_dim, cos_sin);
    for (int64_t h = 0; h < config.n_kv_heads; ++h) {
      if (place >= kv.visible[h] - 1) continue;  // the last place is that of the row at slot
      const int64_t entry = kv.first[h] + row_at(kv, h, place);
      rope(static_cast<const float*>(kv.k_plain) + entry * head_dim, cos_sin, 1, head_dim,
           static_cast<float*>(kv.k) + entry * head_dim);
    }
  }
}

void list_kept(const ModelConfig& config, const KvRows& kv, const Zones& zones,
               const ScoreLists& lists, const KeptRows& kept) {
  const int64_t n_lists = lists.n / config.n_kv_heads;  // of a KV head
  const bool list_per_query_head = lists.n == config.n_heads;
  const int64_t work = zones.max_rows * std::max(lists.n, config.n_kv_heads);
#pragma omp parallel for schedule(dynamic) if (work >= kParallelWork)
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    int32_t* row = kept.row + h * kept.stride;
    uint32_t* mask = kept.mask + h * kept.stride;
    int32_t n = 0;
    for (int32_t r = 0; r < zones.rows[h]; ++r) {
      const bool in_zone = zones.begin[h] <= r && r < zones.end[h];
      const uint32_t takers = in_zone ? takers_of(lists, h * n_lists, n_lists, r) : 0;
      if (in_zone && takers == 0) continue;
      row[n] = r;
      mask[n] = in_zone && list_per_query_head ? takers : kv.mask[kv.first[h] + r];
      ++n;
    }
    kept.count[h] = n;
  }
}

void gather_rows(const ModelConfig& config, const KvRows& from, const KeptRows& kept,
                 const KvRows& to) {
  const int64_t head_dim = config.head_dim;
  const bool plain = from.places_in_cache() && to.places_in_cache();
  const void* from_keys = plain ? from.k_plain : from.k;
  void* to_keys = plain ? to.k_plain : to.k;
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
#pragma omp parallel for schedule(static) if (2 * kept.count[h] * head_dim >= kParallelWork)
    for (int64_t i = 0; i < kept.count[h]; ++i) {
      const int64_t at = h * kept.stride + i;
      const int64_t source = from.first[h] + kept.row[at];
      const int64_t target = to.first[h] + i;
      copy_row(from_keys, source, to_keys, target, head_dim);
      copy_row(from.v, source, to.v, target, head_dim);
      to.position[target] = from.position[source];
      to.mask[target] = kept.mask != nullptr ? kept.mask[at] : from.mask[source];
      if (from.score != nullptr && to.score != nullptr) to.score[target] = from.score[source];
    }
  }
}

}  // namespace winnow::cpu
