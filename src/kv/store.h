// The storage of a cache: for every layer the rows of its KV heads, packed, and their counters.
//
//   kv region   | counters | layer 0: k, v, positions, masks | layer 1: ... | ...
//   one array   | head 0: room rows | head 1: room rows | ...      rooms differ from head to head
//
// Or all layers lie in one pool, where rows may leave while layers are added:
//
//   kv region   | counters | pool: k, v, positions, masks |
//   one array   | layer 0, head 0 | layer 0, head 1 | ... | layer 1, head 0 | ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/device.h"
#include "weights/config.h"

namespace winnow {

/// The rows of one KV head, as the host counts them.
struct HeadRows {
  int32_t rows = 0;       // held
  int32_t room = 0;       // that there is memory for
  int32_t ring_rows = 0;  // the last so many are a ring, which new rows turn; 0: new rows are added
  int32_t turned = 0;     // rows of the ring that were overwritten since it began at its oldest
  bool by_score = false;  // all rows are a ring, in no order: the device alone knows which row is
                          // the next to go (Device::choose_slots), and `turned` says nothing

  /// Where the next row goes.
  int32_t slot() const { return ring_rows > 0 ? rows - ring_rows + turned : rows; }
  /// Rows that the next row will see, itself included.
  int32_t visible() const { return ring_rows > 0 ? rows : rows + 1; }
};

class KvStore {
 public:
  /// No layer yet.
  KvStore(const ModelConfig& config, Device& device, Region& region, const RowExtras& extras);
  ~KvStore();
  KvStore(const KvStore&) = delete;
  KvStore& operator=(const KvStore&) = delete;

  /// Bytes of a region that a store takes where every head has room for `room` rows. Fails with
  /// kMemory where 64 bits do not hold the number.
  static uint64_t region_bytes(const ModelConfig& config, DType type, int64_t room,
                               const RowExtras& extras = {});

  /// Bytes of one row of one head: key, value, position, mask; what budgets are counted in.
  static uint64_t row_bytes(const ModelConfig& config, DType type);

  /// The same with a row's extras.
  static uint64_t whole_row_bytes(const ModelConfig& config, DType type, const RowExtras& extras);

  /// All layers to come share memory for `entries` rows. For a store without layers whose rows have
  /// no extras. Fails with kMemory.
  void make_pool(int64_t entries);

  /// Its arrays; score, first and rows are left to the caller.
  RowPool pool() const;

  /// Where heads that hold `rows` [heads of the layers so far] lie if each keeps the room that it
  /// has beyond its rows: the entry of each one's row 0.
  std::vector<int64_t> places_of(std::span<const int32_t> rows) const;

  /// The caller has moved the rows there.
  void squeeze(std::span<const int32_t> rows);

  /// Memory for the rows of the next layer.  heads [n_kv_heads]. They count as held; the caller
  /// writes them. Fails with kMemory.
  void add_layer(std::span<const HeadRows> heads);

  /// Gets memory for a layer of up to `rows` rows over its heads while the device is at work.
  void prepare_layer(int64_t rows);

  /// To be called after the last layer, and whenever the host's counters were set: brings the
  /// device's up to them.
  void upload_counters();

  /// Every head of every layer holds `n` rows more, or fewer where `n` is negative; a ring turns by
  /// one row.
  void advance(int64_t n);

  /// The memory of one head, for those who move rows as they lie. k is what the store holds:
  /// KvRows::k_plain where places_in_cache.
  struct HeadMemory {
    std::byte* k = nullptr;       // [room, head_dim] T
    std::byte* v = nullptr;       // [room, head_dim] T
    int32_t* position = nullptr;  // [room]
    uint32_t* mask = nullptr;     // [room]
    float* score = nullptr;       // [room] or null
  };
  HeadMemory head_memory(int64_t l, int64_t h) const;

  /// The rows of layer `l`, for the device's steps. All pages are read: pages.n_read is 0.
  KvRows layer(int64_t l) const;

  const RowExtras& extras() const { return extras_; }
  int64_t n_layers() const { return static_cast<int64_t>(layers_.size()); }
  std::span<const HeadRows> heads(int64_t l) const;
  int64_t layer_rows(int64_t l) const;  // over its heads
  int64_t rows_held() const;            // over all layers and heads

  /// The counters that Device::advance keeps.
  void bind(StepState& state) const;

 private:
  struct Layer {
    void* k = nullptr;            // [entries, head_dim] T; k_plain where places_in_cache
    void* v = nullptr;            // [entries, head_dim] T
    int32_t* position = nullptr;  // [entries]
    uint32_t* mask = nullptr;     // [entries]
    float* score = nullptr;       // [entries] or null
    void* pages = nullptr;        // [pages, 2, head_dim] T or null
    int64_t capacity = 0;         // the most rooms of a head
    int64_t entries = 0;
  };

  Layer allocate_rows(const std::string& name, int64_t entries);
  void* allocate(const std::string& name, int64_t n, uint64_t element_bytes);
  bool has_pages(int64_t l) const;
  void make_work_memory();

  int64_t n_counts() const { return config_.n_layers * config_.n_kv_heads; }

  ModelConfig config_;
  Device& device_;
  Region& region_;
  uint64_t row_;  // bytes of a key or a value
  RowExtras extras_;
  std::optional<Layer> pool_;
  int64_t pool_used_ = 0;  // entries
  std::vector<Layer> layers_;
  std::vector<HeadRows> heads_;   // [n_layers * n_kv_heads], as far as there are layers
  int64_t* first_ = nullptr;      // [n_layers * n_kv_heads] these four in device memory
  int32_t* slot_ = nullptr;       // [n_layers * n_kv_heads]
  int32_t* visible_ = nullptr;    // [n_layers * n_kv_heads]
  int32_t* ring_rows_ = nullptr;  // [n_layers * n_kv_heads]
  void* rotated_ = nullptr;       // [entries, head_dim] T: the keys of the layer that is at work
  KvPages pages_at_work_;         // the same of its pages
  std::vector<void*> allocations_;
};

}  // namespace winnow
