#include "src/kv/store.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "src/base/checked.h"
#include "src/base/error.h"

namespace winnow {
namespace {

uint64_t round_up(uint64_t bytes) {
  return (bytes + Region::kAlignment - 1) / Region::kAlignment * Region::kAlignment;
}

}  // namespace

uint64_t KvStore::row_bytes(const ModelConfig& config, DType type) {
  const auto head_dim = static_cast<uint64_t>(config.head_dim);
  return 2 * head_dim * dtype_size(type) + sizeof(int32_t) + sizeof(uint32_t);
}

uint64_t KvStore::region_bytes(const ModelConfig& config, DType type, int64_t room,
                               bool places_in_cache) {
  // The rotated keys of one layer are less than one layer more.
  const int64_t layers = config.n_layers + (places_in_cache ? 1 : 0);
  const auto heads = static_cast<uint64_t>(layers * config.n_kv_heads);
  const auto rows = checked_mul(heads, static_cast<uint64_t>(room));
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  if (!rows || *rows > kMost) {
    fail(ExitCode::kMemory, "a KV cache of ", room, " rows a head has no size");
  }
  return region_bytes_of(config, type, static_cast<int64_t>(*rows));
}

uint64_t KvStore::region_bytes_of(const ModelConfig& config, DType type, int64_t rows) {
  const auto heads = static_cast<uint64_t>(config.n_kv_heads);
  const auto layers = static_cast<uint64_t>(config.n_layers);
  const auto bytes = checked_mul(static_cast<uint64_t>(rows), row_bytes(config, type));
  // Four arrays a layer, six of counters and the rotated keys, each rounded up.
  constexpr uint64_t kCounterBytes = sizeof(int64_t) + 5 * sizeof(int32_t);
  const uint64_t padding = (4 * layers + 7) * Region::kAlignment + layers * heads * kCounterBytes;
  const auto total = bytes ? checked_add(*bytes, padding) : std::nullopt;
  if (!total) fail(ExitCode::kMemory, "a KV cache of ", rows, " rows has no size");
  return round_up(*total);
}

KvStore::KvStore(const ModelConfig& config, Device& device, Region& region, bool places_in_cache)
    : config_(config),
      device_(device),
      region_(region),
      row_(static_cast<uint64_t>(config.head_dim) * dtype_size(device.compute_type())),
      places_in_cache_(places_in_cache) {
  allocations_.reserve(static_cast<size_t>(4 * config.n_layers + 7));
  const auto counter = [&](const char* name, auto*& array) {
    using Element = std::remove_reference_t<decltype(*array)>;
    array = region_.allocate_array<Element>(name, n_counts());
    allocations_.push_back(array);
  };
  try {
    counter("first rows", first_);
    counter("slots", slot_);
    counter("visible rows", visible_);
    counter("ring rows", ring_rows_);
    counter("rows that make a ring", ring_at_);
    counter("rows of rings to come", ring_later_);
  } catch (...) {
    for (void* allocation : allocations_) region_.give_back(allocation);
    throw;
  }
}

KvStore::~KvStore() {
  for (void* allocation : allocations_) region_.give_back(allocation);
}

void KvStore::add_layer(std::span<const HeadRows> heads) {
  WINNOW_CHECK(std::ssize(heads) == config_.n_kv_heads && n_layers() < config_.n_layers,
               "not a layer of this model");
  std::vector<int64_t> first;
  int64_t entries = pool_used_;
  int32_t capacity = 0;
  for (const HeadRows& head : heads) {
    WINNOW_CHECK(head.rows <= head.room, head.rows, " rows in a room of ", head.room);
    first.push_back(entries);
    entries += head.room;
    capacity = std::max(capacity, head.room);
  }
  if (pool_) {
    WINNOW_CHECK(entries <= pool_->entries, entries, " rows in a pool of ", pool_->entries);
    pool_used_ = entries;
  }
  Layer layer = pool_ ? *pool_ : allocate_rows("layer " + std::to_string(n_layers()), entries);
  layer.capacity = capacity;
  device_.upload(first_ + n_layers() * config_.n_kv_heads, first.data(),
                 first.size() * sizeof(int64_t));
  layers_.push_back(layer);
  heads_.insert(heads_.end(), heads.begin(), heads.end());
}

KvStore::Layer KvStore::allocate_rows(const std::string& name, int64_t entries) {
  Layer layer{.entries = entries};
  const auto allocate = [&](const char* array, uint64_t element_bytes) {
    const auto bytes = checked_mul(static_cast<uint64_t>(entries), element_bytes);
    WINNOW_CHECK(bytes.has_value(), "rows of a layer have no size");
    allocations_.push_back(region_.allocate(name + array, *bytes));
    return allocations_.back();
  };
  layer.k = allocate(" k", row_);
  layer.v = allocate(" v", row_);
  layer.position = static_cast<int32_t*>(allocate(" positions", sizeof(int32_t)));
  layer.mask = static_cast<uint32_t*>(allocate(" masks", sizeof(uint32_t)));
  return layer;
}

void KvStore::make_pool(int64_t entries) {
  WINNOW_CHECK(layers_.empty() && !places_in_cache_, "not a store that a pool can hold");
  pool_ = allocate_rows("pool", entries);
}

RowPool KvStore::pool() const {
  return {.k = pool_->k,
          .v = pool_->v,
          .position = pool_->position,
          .mask = pool_->mask,
          .entries = pool_->entries,
          .n_segments = std::ssize(heads_)};
}

std::vector<int64_t> KvStore::places_of(std::span<const int32_t> rows) const {
  std::vector<int64_t> first;
  int64_t entries = 0;
  for (size_t i = 0; i < heads_.size(); ++i) {
    first.push_back(entries);
    entries += rows[i] + (heads_[i].room - heads_[i].rows);
  }
  return first;
}

void KvStore::squeeze(std::span<const int32_t> rows) {
  const std::vector<int64_t> first = places_of(rows);
  for (size_t i = 0; i < heads_.size(); ++i) {
    heads_[i].room += rows[i] - heads_[i].rows;
    heads_[i].rows = rows[i];
  }
  pool_used_ = heads_.empty() ? 0 : first.back() + heads_.back().room;
  for (int64_t l = 0; l < n_layers(); ++l) {
    int32_t capacity = 0;
    for (const HeadRows& head : heads(l)) capacity = std::max(capacity, head.room);
    layers_[static_cast<size_t>(l)].capacity = capacity;
  }
  device_.upload(first_, first.data(), first.size() * sizeof(int64_t));
}

void KvStore::prepare_layer(int64_t rows) {
  if (pool_) return;
  constexpr uint64_t kArrays = 4;  // each rounded up
  region_.prepare(static_cast<uint64_t>(rows) * row_bytes(config_, device_.compute_type()) +
                  kArrays * Region::kAlignment);
}

void KvStore::upload_counters() {
  region_.return_spare();
  std::vector<int32_t> slot, visible, ring_rows, ring_at, ring_later;
  for (const HeadRows& head : heads_) {
    slot.push_back(head.slot());
    visible.push_back(head.visible());
    ring_rows.push_back(head.ring_rows);
    ring_at.push_back(head.window > 0 ? head.room : 0);
    ring_later.push_back(head.window);
  }
  const uint64_t bytes = heads_.size() * sizeof(int32_t);
  device_.upload(slot_, slot.data(), bytes);
  device_.upload(visible_, visible.data(), bytes);
  device_.upload(ring_rows_, ring_rows.data(), bytes);
  device_.upload(ring_at_, ring_at.data(), bytes);
  device_.upload(ring_later_, ring_later.data(), bytes);
  if (!places_in_cache_ || rotated_ != nullptr) return;
  int64_t entries = 0;
  for (const Layer& layer : layers_) entries = std::max(entries, layer.entries);
  rotated_ = region_.allocate("rotated keys", static_cast<uint64_t>(entries) * row_);
  allocations_.push_back(rotated_);
}

void KvStore::advance(int64_t n) {
  for (HeadRows& head : heads_) {
    if (head.ring_rows > 0) {
      WINNOW_CHECK(n == 1, "a ring takes one row at a time");
      head.turned = (head.turned + 1) % head.ring_rows;
    } else {
      WINNOW_CHECK(head.rows + n >= 0, "a head of ", head.rows, " rows cannot lose ", -n);
      head.rows += static_cast<int32_t>(n);
      head.become_ring();
    }
  }
}

KvStore::HeadMemory KvStore::head_memory(int64_t l, int64_t h) const {
  const Layer& layer = layers_[static_cast<size_t>(l)];
  const int64_t in_pool = pool_ ? l * config_.n_kv_heads : 0;  // heads of the layers before it
  int64_t first = 0;
  for (int64_t i = l * config_.n_kv_heads - in_pool; i < l * config_.n_kv_heads + h; ++i) {
    first += heads_[static_cast<size_t>(i)].room;
  }
  const uint64_t offset = static_cast<uint64_t>(first) * row_;
  return {.k = static_cast<std::byte*>(layer.k) + offset,
          .v = static_cast<std::byte*>(layer.v) + offset,
          .position = layer.position + first,
          .mask = layer.mask + first};
}

KvRows KvStore::layer(int64_t l) const {
  const Layer& layer = layers_[static_cast<size_t>(l)];
  const int64_t head = l * config_.n_kv_heads;
  return {.k = places_in_cache_ ? rotated_ : layer.k,
          .v = layer.v,
          .position = layer.position,
          .mask = layer.mask,
          .k_plain = places_in_cache_ ? layer.k : nullptr,
          .first = first_ + head,
          .slot = slot_ + head,
          .visible = visible_ + head,
          .ring_rows = ring_rows_ + head,
          .capacity = layer.capacity,
          .entries = layer.entries};
}

std::span<const HeadRows> KvStore::heads(int64_t l) const {
  const auto n = static_cast<size_t>(config_.n_kv_heads);
  return std::span(heads_).subspan(static_cast<size_t>(l) * n, n);
}

int64_t KvStore::layer_rows(int64_t l) const {
  int64_t rows = 0;
  for (const HeadRows& head : heads(l)) rows += head.rows;
  return rows;
}

int64_t KvStore::rows_held() const {
  int64_t rows = 0;
  for (const HeadRows& head : heads_) rows += head.rows;
  return rows;
}

void KvStore::bind(StepState& state) const {
  state.slot = slot_;
  state.visible = visible_;
  state.ring_rows = ring_rows_;
  state.ring_at = ring_at_;
  state.ring_later = ring_later_;
  state.n_counts = n_counts();
}

}  // namespace winnow
