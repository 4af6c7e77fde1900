// One cut over the whole model, made while its layers go by.
//
// Of all rows between sinks and recent rows, of all KV heads of all layers, the n best are kept.
// A layer's scores are known once the layer is done, and a row that is not among the n best so far
// never will be: it can leave at once. So the store holds n rows at most, and beside it there is
// one layer.
//
//   after layer 0   | 0 0 0 0 0 0 |                                n = 6 best of its rows
//   after layer 1   | 0 0 0 | 1 1 1 |                              3 of layer 0 fell out
//   after layer 2   | 0 0 | 1 | 2 2 2 |
//
// Scores of rows that are kept in any case are +infinity, and they count beyond n. Of equal scores
// the lower layer, head, row comes first, just as in one cut over all layers together.
#pragma once

#include <cstdint>
#include <vector>

#include "src/device.h"
#include "src/kv/selector.h"
#include "src/kv/settings.h"
#include "src/kv/store.h"

namespace winnow {

class RunningCut {
 public:
  /// For a store whose pool has `entries` rows and layers whose heads hold up to `max_rows`; memory
  /// from the scratch region, which the caller rewinds.
  RunningCut(const ModelConfig& config, Device& device, int64_t max_rows, int64_t entries);

  static uint64_t scratch_bytes(const ModelConfig& config, const Device& device, int64_t max_rows,
                                int64_t entries);

  /// The scores of the next layer's rows go here: see Selector::score_all.
  const ScoreLists& layer_lists() const { return layer_; }

  /// Cuts after the n best of the store's rows and the layer's: what falls out of the store leaves
  /// it. Returns the cuts of the layer's lists. Fails with kInternal where a score is NaN.
  std::vector<Cut> cut(KvStore& store, int64_t n);

  /// The layer's rows that are kept have joined the store: their scores do, too.
  void add_layer(const KvStore& store, const KeptRows& kept);

 private:
  void squeeze(KvStore& store);

  ModelConfig config_;
  Device& device_;
  int64_t pool_stride_;             // scores of the pool
  ScoreLists all_;                  // the pool's scores and then the layer's, as one list
  ScoreLists layer_;                // [n_kv_heads]
  int32_t* zone_ = nullptr;         // [4] of the one list
  int32_t* rows_ = nullptr;         // [n_layers * n_kv_heads] the pool's segments
  int32_t* taken_ = nullptr;        // [n_layers * n_kv_heads]
  int64_t* move_first_ = nullptr;   // [n_layers * n_kv_heads]
  int64_t* move_before_ = nullptr;  // [n_layers * n_kv_heads]
  void* workspace_ = nullptr;       // of Device::squeeze_rows
};

}  // namespace winnow
