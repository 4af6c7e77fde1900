// Memory for the steps of one layer, filled with random numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "src/bench/scene.h"
#include "src/kv/store.h"

namespace winnow {

/// A batch of rows and what it leaves between steps. From the scratch region, which gets it back.
class StepMemory {
 public:
  StepMemory(const BenchScene& scene, int64_t rows);
  ~StepMemory() { region_.rewind(mark_); }
  StepMemory(const StepMemory&) = delete;
  StepMemory& operator=(const StepMemory&) = delete;

  Batch batch;              // [rows]
  Activations a;            // of as many rows
  float* logits = nullptr;  // [vocab_size]
  StepState state;          // what sample() needs of it

 private:
  void* random(const char* name, DType type, int64_t elements);

  Device& device_;
  Region& region_;
  Region::Mark mark_;
  uint64_t seed_ = 0;
};

/// The first `n` layers of a network.
ModelConfig first_layers(const ModelConfig& config, int64_t n);

/// A store of random rows.
class RandomRows {
 public:
  /// `n_layers` layers as a prompt of `depth` tokens leaves them, with room for `growth` rows more.
  RandomRows(const BenchScene& scene, int64_t n_layers, const KvSettings& kv, int64_t depth,
             int64_t growth);

  KvRows layer(int64_t l) const { return store_.layer(l); }

  /// Rows that every KV head holds beside the one to come.
  int64_t older() const { return head_.visible() - 1; }

  static uint64_t bytes(const BenchRequest& request, int64_t n_layers, const KvSettings& kv,
                        int64_t depth, int64_t growth);

 private:
  HeadRows head_;
  KvStore store_;
};

/// A layer's rows before a selection, its lists, and where what is kept goes.
class WinnowMemory {
 public:
  WinnowMemory(const BenchScene& scene, const KvSettings& kv, int64_t rows);
  ~WinnowMemory() { region_.rewind(mark_); }
  WinnowMemory(const WinnowMemory&) = delete;
  WinnowMemory& operator=(const WinnowMemory&) = delete;

  /// Scores, cuts and lists the rows, so that every step by itself finds what it needs.
  void select();

  int64_t zone() const { return zone_; }
  double kept_rows() const;  // over all KV heads, after select()
  KvRows from() const { return from_.layer(0); }
  KvRows to() const { return to_.layer(0); }

  const void* query = nullptr;  // [n_heads, head_dim] T
  Zones zones;
  ScoreLists head_lists;   // a list for each query head
  ScoreLists group_lists;  // a list for each KV head
  KeptRows kept;

  /// The lists that are cut.
  const ScoreLists& lists() const { return own_lists_ ? head_lists : group_lists; }

  /// Bytes of the scratch region.
  static uint64_t scratch_bytes(const BenchRequest& request, const KvSettings& kv, int64_t rows);

 private:
  ScoreLists make_lists(const char* name, int64_t n);
  void upload_zones(const KvSettings& kv, int64_t rows);

  const BenchScene& scene_;
  Device& device_;
  Region& region_;
  Region::Mark mark_;
  bool own_lists_;
  int64_t zone_;
  int64_t stride_;
  RandomRows from_;
  KvStore to_;
};

}  // namespace winnow
