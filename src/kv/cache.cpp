#include "src/kv/cache.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "src/base/error.h"

namespace winnow {

KvCache::KvCache(const ModelConfig& config, Device& device, const RowExtras& extras)
    : config_(config), device_(device), extras_(extras) {}

void KvCache::make_room(int64_t room) {
  WINNOW_CHECK(empty(), "rows are held already");
  auto store = std::make_unique<KvStore>(config_, device_, region(side_), extras_);
  const std::vector<HeadRows> heads(static_cast<size_t>(config_.n_kv_heads),
                                    {.room = static_cast<int32_t>(room)});
  for (int64_t l = 0; l < config_.n_layers; ++l) store->add_layer(heads);
  store->upload_counters();
  store_ = std::move(store);
}

std::unique_ptr<KvStore> KvCache::new_store() const {
  const int side = store_ ? 1 - side_ : side_;
  return std::make_unique<KvStore>(config_, device_, region(side), extras_);
}

void KvCache::replace(std::unique_ptr<KvStore> store, int64_t n) {
  if (store_) side_ = 1 - side_;
  store_ = std::move(store);
  next_position_ += n;
}

void KvCache::count_pass(int64_t n, KvMeter& meter) const {
  int64_t held = rows_held();
  for (int64_t l = 0; l < config_.n_layers; ++l) {
    int64_t visible = 0;
    int64_t growth = 0;
    for (const HeadRows& head : store_->heads(l)) {
      visible += head.visible();
      growth += head.ring_rows > 0 ? 0 : n;
    }
    meter.count_layer(n, {.visible = visible, .elsewhere = held - store_->layer_rows(l)});
    held += growth;  // the layer is complete; the next one starts
  }
}

void KvCache::close_prefill(int64_t n) {
  store_->advance(n);
  store_->upload_counters();
  next_position_ += n;
}

void KvCache::close_step() {
  store_->advance(1);
  next_position_ += 1;
}

void KvCache::take_back(int64_t n) {
  WINNOW_CHECK(store_ && n >= 0 && n <= next_position_, "the text has ", next_position_,
               " tokens, not ", n);
  store_->advance(-n);
  store_->upload_counters();
  next_position_ -= n;
  for (int64_t l = 0; store_->extras().scores && l < config_.n_layers; ++l) {
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) {
      float* const score = store_->head_memory(l, h).score + head(l, h).rows;
      device_.clear(score, static_cast<uint64_t>(n) * sizeof(float));
    }
  }
}

bool KvCache::has_room(int64_t n) const {
  for (int64_t l = 0; l < config_.n_layers; ++l) {
    for (const HeadRows& head : store_->heads(l)) {
      if (head.ring_rows > 0 || head.rows + n > head.room) return false;
    }
  }
  return true;
}

uint64_t KvCache::bytes_held() const {
  return static_cast<uint64_t>(rows_held()) * KvStore::row_bytes(config_, device_.compute_type());
}

KeptRecord KvCache::kept() const {
  KeptRecord record;
  record.n_tokens = next_position_;
  record.n_layers = config_.n_layers;
  record.n_kv_heads = config_.n_kv_heads;
  record.group = config_.group();
  if (store_ == nullptr) return record;
  for (int64_t l = 0; l < config_.n_layers; ++l) {
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) record.heads.push_back(kept_head(l, h));
  }
  return record;
}

std::vector<int32_t> KvCache::rows_by_age(int64_t l, int64_t h) const {
  const HeadRows held = head(l, h);
  std::vector<int32_t> rows(static_cast<size_t>(held.rows));
  std::iota(rows.begin(), rows.end(), 0);
  if (!held.by_score) {  // a ring that turned starts at its oldest row again
    const auto ring = rows.begin() + (held.rows - held.ring_rows);
    std::rotate(ring, ring + held.turned, rows.end());
    return rows;
  }
  const int32_t* const from = store_->head_memory(l, h).position;
  std::vector<int32_t> position(rows.size());
  device_.download(position.data(), from, position.size() * sizeof(int32_t));
  std::ranges::sort(rows, {}, [&](int32_t row) { return position[static_cast<size_t>(row)]; });
  return rows;
}

KeptHead KvCache::kept_head(int64_t l, int64_t h) const {
  const KvStore::HeadMemory memory = store_->head_memory(l, h);
  const auto n = static_cast<size_t>(head(l, h).rows);
  std::vector<int32_t> position(n);
  std::vector<uint32_t> mask(n);
  device_.download(position.data(), memory.position, n * sizeof(int32_t));
  device_.download(mask.data(), memory.mask, n * sizeof(uint32_t));
  KeptHead kept;
  for (const int32_t row : rows_by_age(l, h)) {
    kept.position.push_back(position[static_cast<size_t>(row)]);
    kept.mask.push_back(mask[static_cast<size_t>(row)]);
  }
  return kept;
}

}  // namespace winnow
