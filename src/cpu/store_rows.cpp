// Queries, keys and values of a batch row, turned to its place and put where attention reads them.
#include <algorithm>

#include "src/cpu/ops.h"

namespace winnow::cpu {

void rotate_and_store(const ModelConfig& config, const Batch& batch, int64_t i,
                      const RopeFrequencies& frequencies, const float* qkv, float* q,
                      const KvRows& kv) {
  const int64_t head_dim = config.head_dim;
  const int64_t queries = config.group() * head_dim;  // width of a group's queries
  const auto row_at = [&](void* rows, int64_t entry) {
    return static_cast<float*>(rows) + entry * head_dim;
  };
  float cos_sin[kMaxHeadDim];
  int64_t angles_of = -1;  // the place that cos_sin is for
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    const int64_t place = kv.places_in_cache() ? kv.visible_to(h, i) - 1 : batch.position[i];
    if (place != angles_of) {
      rope_angles(static_cast<int32_t>(place), frequencies, head_dim, cos_sin);
      angles_of = place;
    }
    rope(qkv + h * queries, cos_sin, config.group(), head_dim,
         q + i * config.q_size() + h * queries);
    const float* k = qkv + config.q_size() + h * head_dim;
    const float* v = k + config.kv_size();
    const int64_t entry = kv.first[h] + kv.row_of(h, i);
    rope(k, cos_sin, 1, head_dim, row_at(kv.k, entry));
    if (kv.places_in_cache()) std::copy_n(k, head_dim, row_at(kv.k_plain, entry));
    std::copy_n(v, head_dim, row_at(kv.v, entry));
    kv.position[entry] = batch.position[i];
    kv.mask[entry] = kSeenByAll;
  }
}

}  // namespace winnow::cpu
