#include "src/kv/store.h"

#include <algorithm>
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

/// What a row takes with its extras: its part of a page, rounded up.
uint64_t KvStore::whole_row_bytes(const ModelConfig& config, DType type, const RowExtras& extras) {
  const uint64_t page = 2 * static_cast<uint64_t>(config.head_dim) * dtype_size(type);
  const bool pages = extras.paging.n_read > 0;
  return row_bytes(config, type) + (extras.scores ? sizeof(float) : 0) +
         (pages ? (page + kPageRows - 1) / kPageRows : 0);
}

uint64_t KvStore::region_bytes(const ModelConfig& config, DType type, int64_t room,
                               const RowExtras& extras) {
  const auto heads = static_cast<uint64_t>(config.n_kv_heads);
  const auto layers = static_cast<uint64_t>(config.n_layers);
  // Rotated keys, or masks and scores of pages, of the layer at work are less than one layer more;
  // and a head has a page more than its rows fill.
  const bool pages = extras.paging.n_read > 0;
  const uint64_t at_work = extras.places_in_cache || pages ? 1 : 0;
  const auto rows = checked_mul(layers + at_work, heads,
                                static_cast<uint64_t>(room) + (pages ? uint64_t{kPageRows} : 0));
  const auto bytes =
      rows ? checked_mul(*rows, whole_row_bytes(config, type, extras)) : std::nullopt;
  // Six arrays a layer, four of counters and five of the layer at work, each rounded up.
  constexpr uint64_t kCounterBytes = sizeof(int64_t) + 3 * sizeof(int32_t);
  const uint64_t padding = (6 * layers + 9) * Region::kAlignment + layers * heads * kCounterBytes;
  const auto total = bytes ? checked_add(*bytes, padding) : std::nullopt;
  if (!total) fail(ExitCode::kMemory, "a KV cache of ", room, " rows a head has no size");
  return round_up(*total);
}

KvStore::KvStore(const ModelConfig& config, Device& device, Region& region, const RowExtras& extras)
    : config_(config),
      device_(device),
      region_(region),
      row_(static_cast<uint64_t>(config.head_dim) * dtype_size(device.compute_type())),
      extras_(extras) {
  allocations_.reserve(static_cast<size_t>(6 * config.n_layers + 9));
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
  layer.k = allocate(name + " k", entries, row_);
  layer.v = allocate(name + " v", entries, row_);
  layer.position = static_cast<int32_t*>(allocate(name + " positions", entries, sizeof(int32_t)));
  layer.mask = static_cast<uint32_t*>(allocate(name + " masks", entries, sizeof(uint32_t)));
  if (extras_.scores) {
    layer.score = static_cast<float*>(allocate(name + " scores", entries, sizeof(float)));
    device_.clear(layer.score, static_cast<uint64_t>(entries) * sizeof(float));
  }
  if (has_pages(n_layers())) {
    layer.pages = allocate(name + " pages", pages_of(entries, config_.n_kv_heads), 2 * row_);
  }
  return layer;
}

void* KvStore::allocate(const std::string& name, int64_t n, uint64_t element_bytes) {
  const auto bytes = checked_mul(static_cast<uint64_t>(n), element_bytes);
  WINNOW_CHECK(bytes.has_value(), "rows of a layer have no size");
  allocations_.push_back(region_.allocate(name, *bytes));
  return allocations_.back();
}

bool KvStore::has_pages(int64_t l) const {
  return extras_.paging.n_read > 0 && l >= extras_.paging.dense_layers;
}

void KvStore::make_pool(int64_t entries) {
  const bool extras = extras_.places_in_cache || extras_.scores || extras_.paging.n_read > 0;
  WINNOW_CHECK(layers_.empty() && !extras, "not a store that a pool can hold");
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
  constexpr uint64_t kArrays = 6;  // each rounded up
  const auto paged = static_cast<uint64_t>(rows + config_.n_kv_heads * kPageRows);
  region_.prepare((has_pages(n_layers()) ? paged : static_cast<uint64_t>(rows)) *
                      whole_row_bytes(config_, device_.compute_type(), extras_) +
                  kArrays * Region::kAlignment);
}

void KvStore::upload_counters() {
  region_.return_spare();
  std::vector<int32_t> slot, visible, ring_rows;
  for (const HeadRows& head : heads_) {
    slot.push_back(head.slot());
    visible.push_back(head.visible());
    ring_rows.push_back(head.ring_rows);
  }
  const uint64_t bytes = heads_.size() * sizeof(int32_t);
  device_.upload(slot_, slot.data(), bytes);
  device_.upload(visible_, visible.data(), bytes);
  device_.upload(ring_rows_, ring_rows.data(), bytes);
  make_work_memory();
}

/// What the layer that is at work needs and no other, once there are all layers.
void KvStore::make_work_memory() {
  int64_t entries = 0;
  int64_t capacity = 0;
  for (const Layer& layer : layers_) {
    entries = std::max(entries, layer.entries);
    capacity = std::max(capacity, layer.capacity);
  }
  if (extras_.places_in_cache && rotated_ == nullptr) {
    rotated_ = allocate("rotated keys", entries, row_);
  }
  if (extras_.paging.n_read == 0 || pages_at_work_.mask != nullptr) return;
  KvPages& pages = pages_at_work_;
  pages.stride = (capacity + kPageRows - 1) / kPageRows;
  pages.stride = (pages.stride + 3) / 4 * 4;
  const int64_t scores = config_.n_heads * pages.stride;
  pages.score = static_cast<float*>(allocate("scores of pages", scores, sizeof(float)));
  pages.cut = static_cast<Cut*>(allocate("cuts of pages", config_.n_heads, sizeof(Cut)));
  pages.zone =
      static_cast<int32_t*>(allocate("zones of pages", 3 * config_.n_kv_heads, sizeof(int32_t)));
  pages.mask = static_cast<uint32_t*>(allocate("masks of pages", entries, sizeof(uint32_t)));
}

void KvStore::advance(int64_t n) {
  for (HeadRows& head : heads_) {
    if (head.ring_rows > 0) {
      WINNOW_CHECK(n == 1, "a ring takes one row at a time");
      head.turned = (head.turned + 1) % head.ring_rows;
    } else {
      WINNOW_CHECK(head.rows + n >= 0, "a head of ", head.rows, " rows cannot lose ", -n);
      head.rows += static_cast<int32_t>(n);
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
          .mask = layer.mask + first,
          .score = layer.score == nullptr ? nullptr : layer.score + first};
}

KvRows KvStore::layer(int64_t l) const {
  const Layer& layer = layers_[static_cast<size_t>(l)];
  const int64_t head = l * config_.n_kv_heads;
  KvPages pages = layer.pages == nullptr ? KvPages{} : pages_at_work_;
  pages.keys = layer.pages;
  return {.k = extras_.places_in_cache ? rotated_ : layer.k,
          .v = layer.v,
          .position = layer.position,
          .mask = layer.mask,
          .k_plain = extras_.places_in_cache ? layer.k : nullptr,
          .first = first_ + head,
          .slot = slot_ + head,
          .visible = visible_ + head,
          .ring_rows = ring_rows_ + head,
          .capacity = layer.capacity,
          .entries = layer.entries,
          .score = layer.score,
          .pages = pages};
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
  state.n_counts = n_counts();
}

}  // namespace winnow
