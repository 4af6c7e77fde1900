// Which rows of a layer stay: the method's scores, the cut, the rows that are left.
//
//   rows of a head   | sink | . . . . . . . . . . . . . . . . . | recent |
//   list of head 0            x       x         x                            its best k
//   list of head 1                    x    x             x                   its best k
//   kept             | sink | x       x    x    x        x      | recent |   each once, with a mask
//
// Where one cut is made for all KV heads of a layer, their lists are laid end to end and cut as
// one. A cut over the whole model is made by RunningCut (src/kv/running_cut.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "src/device.h"
#include "src/kv/settings.h"

namespace winnow {

/// The K/V rows of a layer before anything is dropped, and what is known beside them.
struct LayerRows {
  int64_t layer = 0;
  const void* last_query = nullptr;  // [n_heads, head_dim] T
  KvRows kv;
  std::vector<int32_t> rows;      // [n_kv_heads] held by each head, in order of position
  std::vector<int32_t> old_rows;  // [n_kv_heads] of them, held before this pass
  const void* queries = nullptr;  // [n_queries, n_heads, head_dim] T, the last of them last_query
  int64_t n_queries = 0;
  const LayerWeights* weights = nullptr;
  QueryStatistics statistics = {};  // where Needs::query_statistics says so
  Outlook outlook = {};             // from the prompt's end, with what they are of
};

/// How the rows of one chunk of a prompt are divided (src/prefill_chunks.h). The rows before it all
/// stay; the patch behind it, whose queries score the chunk, goes.
struct ChunkZones {
  Shares shares;      // of the chunk's budget
  int64_t patch = 0;  // rows behind the chunk's
};

class Selector {
 public:
  /// For layers whose heads hold up to `max_rows` rows; memory from the scratch region, which the
  /// caller rewinds. `chunk`: what is read is a chunk of a prompt.
  Selector(const ModelConfig& config, Device& device, const KvSettings& settings, int64_t max_rows,
           const std::optional<ChunkZones>& chunk = {});

  static uint64_t scratch_bytes(const ModelConfig& config, const KvSettings& settings,
                                int64_t max_rows);

  /// Chooses among the rows of the layer; heads within the budget keep all. Leaves the choice in
  /// kept() and returns how many rows each head keeps, [n_kv_heads]. Fails with kInternal where a
  /// score is NaN.
  const std::vector<int32_t>& select(const LayerRows& layer);

  /// The scores alone, for a cut that is made elsewhere: rows outside of the zones get +infinity
  /// and what is behind the rows -infinity. They are written to `lists`, one for each KV head.
  void score_all(const LayerRows& layer, const ScoreLists& lists);

  /// Lists what each head's cut takes of the lists that score_all() filled, and every row of
  /// +infinity; as select().
  const std::vector<int32_t>& take(const LayerRows& layer, const ScoreLists& lists,
                                   std::span<const Cut> cuts);

  /// Rows that select() will keep of the layer at most, over its heads.
  int64_t most_kept(const LayerRows& layer);

  /// Rows outside of the zones of the last layer, over its heads.
  int64_t rows_outside() const;

  const KeptRows& kept() const { return kept_; }

 private:
  /// The host's side of Zones, [n_kv_heads] each.
  struct HostZones {
    std::vector<int32_t> rows, begin, end, k, seen;
    bool operator==(const HostZones&) const = default;
  };

  int64_t n_lists() const;
  void divide(const LayerRows& layer);
  void divide_head(const LayerRows& layer, size_t h);
  void upload_zones();
  void score(const LayerRows& layer, const ScoreLists& lists);
  void cut(const KvRows& kv);
  void list(const KvRows& kv);
  void cut_layer(const LayerRows& layer);
  void share_by_floor();
  int64_t most_of_head(size_t h) const;
  void fill(const KvRows& kv);
  void check_cuts(int64_t layer) const;
  void check_counts(const LayerRows& layer) const;

  ModelConfig config_;
  Device& device_;
  KvSettings settings_;
  std::optional<ChunkZones> chunk_;
  HostZones host_;
  HostZones uploaded_;  // what the device has
  Zones zones_;
  int32_t* zone_memory_ = nullptr;  // [5, n_kv_heads]
  int32_t* flat_zone_ = nullptr;    // [4] of all lists as one
  ScoreLists head_lists_;           // a list for each query head
  ScoreLists lists_;                // those that are cut: the same, or one for each KV head
  std::array<ScoreLists, 2> spare_;
  KeptRows kept_;
  std::vector<int32_t> counts_;  // [n_kv_heads]
};

/// The cuts of lists that were laid end to end, `stride` scores each, and cut as one.
std::vector<Cut> split_cut(const Cut& cut, int64_t first, int64_t stride, int64_t n_lists);

}  // namespace winnow
