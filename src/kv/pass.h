// What happens to the cache while rows go through the layers. One of three things:
//
//   in place   the rows join the store: it has room, and nothing is dropped
//   copy       each layer moves to a new store with more room, where the rows join it
//   winnow     each layer's rows, old and new, lie in scratch memory; what a selection keeps moves
//              to a new store before the next layer begins
//
//   winnow     layer 0           layer 1           layer 2
//   scratch    [old | new    ]   [old | new    ]   [old | new    ]     the same memory each time
//                  \ select          \ select          \ select
//   new store  [kept]            [kept]            [kept]              packed, one after the other
//
// A new store takes the place of the old one at the very end: until then the cache is as it was.
//
// Several empty caches may be filled by one prompt. The first pass winnows as above; the others
// follow: each selects among the rows of the same scratch layer, for a store of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "src/device.h"
#include "src/kv/cache.h"
#include "src/kv/meter.h"
#include "src/kv/running_cut.h"
#include "src/kv/selector.h"
#include "src/kv/settings.h"

namespace winnow {

/// What a pass works with.
struct KvPassScene {
  const ModelConfig& config;
  Device& device;
  const KvSettings& settings;
  const KvMeter& meter;                  // as it stands before the pass
  std::optional<ChunkZones> chunk = {};  // how a chunk's rows are divided, where that is by itself
  bool in_chunks = false;                // the rows are a chunk of a prompt
};

class KvPass {
 public:
  enum class Kind { kInPlace, kCopy, kWinnow, kFollow };

  /// For `n` rows on top of `cache`. `growth`: rows that a head must have room for afterwards,
  /// where generated rows are appended. Takes memory of the scratch region, which the caller
  /// rewinds after the pass is gone. A chunk of a prompt is winnowed. Fails with kMemory.
  KvPass(Kind kind, const KvPassScene& scene, KvCache& cache, int64_t n, int64_t growth);

  /// A pass that was not finished leaves nothing behind.
  ~KvPass() {
    if (kind_ == Kind::kInPlace) cache_.drop_unused_room();
  }
  KvPass(const KvPass&) = delete;
  KvPass& operator=(const KvPass&) = delete;

  /// What `n` more rows ask for, and `steps` rows that will be added after them in place.
  static Kind kind_for(const KvCache& cache, const ModelConfig& config, const KvSettings& settings,
                       int64_t n, int64_t steps);

  /// The most rows that a head holds.
  static int64_t most_rows(const KvCache& cache, const ModelConfig& config);

  /// Bytes of scratch memory that a pass needs where heads hold up to `max_rows` rows, its own and
  /// what they grow by included, and the new store has room for `room` a head.
  static uint64_t scratch_bytes(const ModelConfig& config, const Device& device,
                                const KvSettings& settings, int64_t max_rows, int64_t room);

  /// The part of it that each of several passes has to itself.
  static uint64_t selection_bytes(const ModelConfig& config, const Device& device,
                                  const KvSettings& settings, int64_t max_rows, int64_t room);

  /// Where the rows of layer `l` go. Layers are opened and closed in their order.
  KvRows open_layer(int64_t l);

  /// The layer as it is once all rows went through it.
  LayerRows rows_of(int64_t l, const KvRows& kv) const;

  /// What a selection wants to know of each layer.
  Needs needs() const;

  /// Whether it wants to know KvRows::score of its layers.
  bool sums_columns() const;

  /// From now on open_layer() gives layers that have it, for whichever pass: old rows with what
  /// they had, new ones with 0.
  void make_scores();

  /// All rows went through the layer. Fails like Selector::select and with kMemory.
  void close_layer(const LayerRows& layer);

  /// The pass is complete: the cache changes now. Returns what the meter has counted.
  KvMeter finish();

  /// Time that scoring, selecting and compacting took.
  double compact_ms() const { return compact_ms_; }

  /// Rows of the budget that a selection did not need, because several lists took the same ones.
  int64_t rows_shared() const { return rows_shared_; }

 private:
  bool selects() const;
  std::span<const HeadRows> old_heads(int64_t l) const;
  HeadRows after_copy(const HeadRows& old) const;
  HeadRows after_selection(int32_t rows) const;
  void make_scratch();
  void upload_counters(int64_t l);
  void gather_old(int64_t l, const KvRows& to);
  int64_t pool_rows() const;
  int64_t patch() const { return chunk_ ? chunk_->patch : 0; }
  const std::vector<int32_t>& select(const LayerRows& layer);
  void compact(const LayerRows& layer);

  Kind kind_;
  ModelConfig config_;
  Device& device_;
  KvSettings settings_;
  KvMeter meter_;
  KvCache& cache_;
  int64_t n_;
  int64_t growth_;
  bool drops_rows_;                // the budget does not hold all rows of some head
  std::vector<HeadRows> no_rows_;  // the heads of an empty cache
  std::unique_ptr<KvStore> store_;
  std::optional<ChunkZones> chunk_;
  bool in_chunks_ = false;  // generated rows are added
  std::optional<Selector> selector_;
  std::optional<RunningCut> running_cut_;  // where one cut is made over the whole model
  int64_t protected_ = 0;                  // rows of the layers so far that no cut is made among
  KvRows scratch_;                         // a layer's rows, old and new
  int32_t* counters_ = nullptr;    // [3, n_kv_heads] slot, visible, ring_rows of the open layer
  std::vector<int32_t> uploaded_;  // what they are
  KeptRows old_rows_;              // the rows of the old store, by age
  double compact_ms_ = 0;
  int64_t rows_shared_ = 0;
};

}  // namespace winnow
