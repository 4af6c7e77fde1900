#include "src/kv_cache.h"

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

uint64_t KvCache::row_bytes(const ModelConfig& config, DType type) {
  const auto head_dim = static_cast<uint64_t>(config.head_dim);
  return 2 * head_dim * dtype_size(type) + sizeof(int32_t) + sizeof(uint32_t);
}

uint64_t KvCache::region_bytes(const ModelConfig& config, DType type, int64_t capacity) {
  const auto heads = static_cast<uint64_t>(config.n_kv_heads);
  const auto layers = static_cast<uint64_t>(config.n_layers);
  const auto rows = checked_mul(layers, heads, static_cast<uint64_t>(capacity));
  const auto bytes = rows ? checked_mul(*rows, row_bytes(config, type)) : std::nullopt;
  // Four arrays a layer and two of counters, each rounded up.
  const uint64_t padding = (4 * layers + 2) * Region::kAlignment + layers * heads * 4 + heads * 8;
  const auto total = bytes ? checked_add(*bytes, padding) : std::nullopt;
  if (!total) fail(ExitCode::kMemory, "a KV cache of ", capacity, " rows a head has no size");
  return round_up(*total);
}

KvCache::KvCache(const ModelConfig& config, Device& device, int64_t capacity)
    : config_(config),
      type_(device.compute_type()),
      region_(device.kv_region()),
      mark_(region_.mark()),
      capacity_(capacity),
      rows_(static_cast<size_t>(config.n_layers * config.n_kv_heads)) {
  const int64_t entries = config.n_kv_heads * capacity;
  const auto row = static_cast<uint64_t>(config.head_dim) * dtype_size(type_);
  for (int64_t l = 0; l < config.n_layers; ++l) {
    const std::string name = "layer " + std::to_string(l);
    Layer layer;
    layer.k = region_.allocate(name + " k", static_cast<uint64_t>(entries) * row);
    layer.v = region_.allocate(name + " v", static_cast<uint64_t>(entries) * row);
    layer.position = region_.allocate_array<int32_t>(name + " positions", entries);
    layer.mask = region_.allocate_array<uint32_t>(name + " masks", entries);
    layers_.push_back(layer);
  }
  device_rows_ = region_.allocate_array<int32_t>("row counts", n_counts());
  device.upload(device_rows_, rows_.data(), rows_.size() * sizeof(int32_t));
  std::vector<int64_t> first(static_cast<size_t>(config.n_kv_heads));
  for (size_t h = 0; h < first.size(); ++h) first[h] = static_cast<int64_t>(h) * capacity;
  first_ = region_.allocate_array<int64_t>("first rows", config.n_kv_heads);
  device.upload(first_, first.data(), first.size() * sizeof(int64_t));
}

KvCache::~KvCache() {
  region_.rewind(mark_);
}

KvRows KvCache::layer(int64_t l) const {
  const Layer& layer = layers_[static_cast<size_t>(l)];
  return {.k = layer.k,
          .v = layer.v,
          .position = layer.position,
          .mask = layer.mask,
          .first = first_,
          .rows = device_rows_ + l * config_.n_kv_heads,
          .capacity = capacity_};
}

void KvCache::advance(int64_t n) {
  for (int32_t& rows : rows_) rows += static_cast<int32_t>(n);
  next_position_ += n;
}

int64_t KvCache::rows(int64_t l, int64_t h) const {
  return rows_[static_cast<size_t>(l * config_.n_kv_heads + h)];
}

int64_t KvCache::rows_held() const {
  return std::accumulate(rows_.begin(), rows_.end(), int64_t{0});
}

uint64_t KvCache::bytes_held() const {
  return static_cast<uint64_t>(rows_held()) * row_bytes(config_, type_);
}

}  // namespace winnow
