// The KV cache of one text: the rows that later tokens attend to.
//
// Three numbers that are easily taken for one another and never are here:
//   next_position   the place in the text of the token that comes next
//   rows            that a head holds now
//   room            rows that a head has memory for
//
// A cache is changed in one of two ways. Rows are added in place, or put over others, where there
// is room; they count only once a pass is closed. Or a new store is filled beside the old one,
// which is given back when the new one takes its place. Either way the cache stays as it was until
// the end.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "src/kv/kept.h"
#include "src/kv/meter.h"
#include "src/kv/store.h"

namespace winnow {

class KvCache {
 public:
  /// Empty. The stores come from the device's kv regions.
  KvCache(const ModelConfig& config, Device& device, const RowExtras& extras);

  /// Memory for `room` rows a head, for an empty cache.
  void make_room(int64_t room);

  /// Gives that memory back where no row came to count.
  void drop_unused_room() {
    if (empty()) store_.reset();
  }

  /// Forgets all rows.
  void clear() {
    store_.reset();
    next_position_ = 0;
  }

  /// A store without layers in the region that the cache does not use now.
  std::unique_ptr<KvStore> new_store() const;

  /// Takes a store that was filled, with `n` rows of the text more than before, and gives back the
  /// one that it replaces.
  void replace(std::unique_ptr<KvStore> store, int64_t n);

  /// Counts a pass of `n` rows that go into the store in place, before it is closed.
  void count_pass(int64_t n, KvMeter& meter) const;

  /// Closes a prefill that added `n` rows to every head in place.
  void close_prefill(int64_t n);

  /// Closes a decode step, whose Device::advance did the same to the device's counters.
  void close_step();

  /// Every head forgets the last `n` rows of the text, which were appended to it. What their
  /// queries added to the scores of others stays.
  void take_back(int64_t n);

  bool empty() const { return store_ == nullptr || next_position_ == 0; }
  const KvStore& store() const { return *store_; }

  /// Whether new rows go over old ones: all heads are rings, or none is.
  bool is_ring() const { return !empty() && store_->heads(0).front().ring_rows > 0; }

  /// Whether they go over rows that the device chooses: again, all or none.
  bool goes_by_score() const { return !empty() && store_->heads(0).front().by_score; }

  /// The rows of a head by age, the oldest first: of one that goes by score, by their places.
  std::vector<int32_t> rows_by_age(int64_t l, int64_t h) const;

  /// Whether every head can take `n` rows in place.
  bool has_room(int64_t n) const;

  int64_t next_position() const { return next_position_; }
  HeadRows head(int64_t l, int64_t h) const { return store_->heads(l)[static_cast<size_t>(h)]; }
  KvRows layer(int64_t l) const { return store_->layer(l); }
  int64_t rows_held() const { return store_ ? store_->rows_held() : 0; }
  uint64_t bytes_held() const;

  /// The positions and masks of all rows, by ascending position; policy and budget are left to the
  /// caller.
  KeptRecord kept() const;

 private:
  Region& region(int side) const { return device_.kv_region(side); }
  KeptHead kept_head(int64_t l, int64_t h) const;

  ModelConfig config_;
  Device& device_;
  RowExtras extras_;
  int side_ = 0;  // of the store
  int64_t next_position_ = 0;
  std::unique_ptr<KvStore> store_;
};

}  // namespace winnow
