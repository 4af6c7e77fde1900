// The KV cache: for every layer and KV head, the rows that later tokens attend to.
//
//   layer l:  k [n_kv_heads, capacity, head_dim]   v the same   position, mask [n_kv_heads,
//   capacity]
//
// Three numbers that are easily taken for one another and never are here:
//   next_position   the place in the text of the token that comes next
//   rows(l, h)      rows that a head holds now
//   capacity        rows that a head has room for
#pragma once

#include <cstdint>
#include <vector>

#include "src/device.h"
#include "weights/config.h"

namespace winnow {

class KvCache {
 public:
  /// Room for `capacity` rows a head, from the device's kv region, which holds nothing else.
  KvCache(const ModelConfig& config, Device& device, int64_t capacity);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  /// Bytes of the kv region that a cache of that capacity takes, for rows of `type`. Fails with
  /// kMemory where 64 bits do not hold the number.
  static uint64_t region_bytes(const ModelConfig& config, DType type, int64_t capacity);

  /// Bytes of one row of one head: key, value, position, mask.
  static uint64_t row_bytes(const ModelConfig& config, DType type);

  /// The rows of layer `l`, for the device's steps.
  KvRows layer(int64_t l) const;

  /// The counts of all heads in device memory, [n_layers * n_kv_heads], which Device::advance
  /// keeps.
  int32_t* device_rows() const { return device_rows_; }
  int64_t n_counts() const { return static_cast<int64_t>(rows_.size()); }

  /// What Device::advance did to device_rows(), for the host's side of the counters.
  void advance(int64_t n);

  int64_t next_position() const { return next_position_; }
  int64_t capacity() const { return capacity_; }
  int64_t rows(int64_t l, int64_t h) const;
  int64_t rows_held() const;    // over all layers and heads
  uint64_t bytes_held() const;  // of those rows

 private:
  struct Layer {
    void* k = nullptr;            // [n_kv_heads, capacity, head_dim] T
    void* v = nullptr;            // [n_kv_heads, capacity, head_dim] T
    int32_t* position = nullptr;  // [n_kv_heads, capacity]
    uint32_t* mask = nullptr;     // [n_kv_heads, capacity]
  };

  ModelConfig config_;
  DType type_;
  Region& region_;
  Region::Mark mark_;
  int64_t capacity_;
  int64_t next_position_ = 0;
  std::vector<Layer> layers_;
  std::vector<int32_t> rows_;       // [n_layers * n_kv_heads]
  int32_t* device_rows_ = nullptr;  // [n_layers * n_kv_heads]
  int64_t* first_ = nullptr;        // [n_kv_heads] in device memory: the same in every layer
};

}  // namespace winnow
