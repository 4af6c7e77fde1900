#include "src/bench/synthetic.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace winnow {
namespace {

/// The rows of one head: where they stand in the text, and who sees them.
struct RowPlaces {
  std::vector<int32_t> position;
  std::vector<uint32_t> mask;
};

RowPlaces places_of(const KvSettings& settings, int64_t group, int64_t depth,
                    const HeadRows& head) {
  RowPlaces places;
  places.position.resize(static_cast<size_t>(head.room));
  std::iota(places.position.begin(), places.position.end(), 0);
  places.mask.assign(static_cast<size_t>(head.room), kSeenByAll);
  if (!settings.exceeds(depth)) return places;
  const Shares& shares = settings.shares;
  const bool own_lists = settings.group == Group::kHead;
  const int64_t listed = shares.k * lists_of(settings.group, group);
  const int64_t zone = depth - shares.sink - shares.recent;
  for (int64_t i = 0; i < listed; ++i) {
    const auto row = static_cast<size_t>(shares.sink + i);
    places.position[row] = static_cast<int32_t>(shares.sink + i * zone / listed);
    if (own_lists) places.mask[row] = uint32_t{1} << (i % group);
  }
  for (int64_t i = shares.sink + listed; i < head.rows; ++i) {
    places.position[static_cast<size_t>(i)] = static_cast<int32_t>(depth - head.rows + i);
  }
  return places;
}

template <class T>
std::vector<T> repeated(const std::vector<T>& one, int64_t times) {
  std::vector<T> all;
  all.reserve(one.size() * static_cast<size_t>(times));
  for (int64_t i = 0; i < times; ++i) all.insert(all.end(), one.begin(), one.end());
  return all;
}

}  // namespace

HeadRows synthetic_head(const KvSettings& settings, int64_t depth, int64_t growth) {
  const bool drops = settings.exceeds(depth);
  HeadRows head{.rows = static_cast<int32_t>(settings.left_of(depth))};
  head.room = head.rows;
  if (drops && settings.replaces_rows()) {
    const auto recent = static_cast<int32_t>(settings.shares.recent);
    head.by_score = settings.extras().scores;
    head.ring_rows = head.by_score ? head.rows : std::min(head.rows, recent);
  } else {
    head.room += static_cast<int32_t>(growth);
  }
  return head;
}

void fill_store(KvStore& store, Device& device, const ModelConfig& config,
                const KvSettings& settings, int64_t depth, const HeadRows& head) {
  const std::vector<HeadRows> heads(static_cast<size_t>(config.n_kv_heads), head);
  const RowPlaces places = places_of(settings, config.group(), depth, head);
  const std::vector<int32_t> position = repeated(places.position, config.n_kv_heads);
  const std::vector<uint32_t> mask = repeated(places.mask, config.n_kv_heads);
  const auto elements = static_cast<uint64_t>(head.room * config.kv_size());
  for (int64_t l = 0; l < config.n_layers; ++l) {
    store.add_layer(heads);
    const KvRows kv = store.layer(l);
    void* keys = kv.places_in_cache() ? kv.k_plain : kv.k;
    const auto seed = static_cast<uint64_t>(2 * l);
    device.fill_random(keys, device.compute_type(), elements, seed, 1);
    device.fill_random(kv.v, device.compute_type(), elements, seed + 1, 1);
    device.upload(kv.position, position.data(), position.size() * sizeof(int32_t));
    device.upload(kv.mask, mask.data(), mask.size() * sizeof(uint32_t));
  }
  store.upload_counters();
}

}  // namespace winnow
