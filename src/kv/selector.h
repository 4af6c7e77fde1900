// Which rows of a layer stay: the method's scores, the cut of each list, the rows that are left.
//
//   rows of a head   | sink | . . . . . . . . . . . . . . . . . | recent |
//   list of head 0            x       x         x                            its best k
//   list of head 1                    x    x             x                   its best k
//   kept             | sink | x       x    x    x        x      | recent |   each once, with a mask
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/device.h"
#include "src/kv/settings.h"

namespace winnow {

class Selector {
 public:
  /// For layers whose heads hold up to `max_rows` rows; memory from the scratch region, which the
  /// caller rewinds.
  Selector(const ModelConfig& config, Device& device, const KvSettings& settings, int64_t max_rows);

  static uint64_t scratch_bytes(const ModelConfig& config, const KvSettings& settings,
                                int64_t max_rows);

  /// Chooses among the rows of `kv`, of which head h holds rows[h]; heads within the budget keep
  /// all. Leaves the choice in kept() and returns how many rows each head keeps, [n_kv_heads].
  /// last_query [n_heads, head_dim] T. Fails with kInternal where a score is NaN.
  const std::vector<int32_t>& select(int64_t layer, const void* last_query, const KvRows& kv,
                                     std::span<const int32_t> rows);

  const KeptRows& kept() const { return kept_; }

 private:
  /// The host's side of Zones, [n_kv_heads] each.
  struct HostZones {
    std::vector<int32_t> rows, begin, end, k;
  };

  int64_t n_lists() const;
  void divide(std::span<const int32_t> rows);
  void upload_zones();
  void score(int64_t layer, const void* last_query, const KvRows& kv);
  void cut(const KvRows& kv);
  void fill(const KvRows& kv);
  void check_cuts(int64_t layer) const;

  ModelConfig config_;
  Device& device_;
  KvSettings settings_;
  HostZones host_;
  HostZones uploaded_;  // what the device has
  Zones zones_;
  int32_t* zone_memory_ = nullptr;  // [4, n_kv_heads]
  ScoreLists head_lists_;           // a list for each query head
  ScoreLists lists_;                // those that are cut: the same, or one for each KV head
  KeptRows kept_;
  std::vector<int32_t> counts_;  // [n_kv_heads]
};

}  // namespace winnow
