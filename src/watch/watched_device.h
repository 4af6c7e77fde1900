// A device that tells of every step that it is asked for, and has another one do it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "src/device.h"
#include "src/watch/watch.h"

namespace winnow {

class WatchedDevice final : public Device {
 public:
  /// Without observers it costs a call a step.
  WatchedDevice(std::unique_ptr<Device> device, Observers observers);

  Watch& watch() { return watch_; }

  std::string name() const override { return device_->name(); }
  std::string driver() const override { return device_->driver(); }
  uint64_t available_bytes() const override { return device_->available_bytes(); }
  Ceilings measure_ceilings() override { return device_->measure_ceilings(); }
  void reserve(const MemoryPlan& plan) override;
  const Arena& arena() const override { return device_->arena(); }
  Region& kv_region(int side) override { return device_->kv_region(side); }
  Region& scratch_region() override { return device_->scratch_region(); }
  DType compute_type() const override { return device_->compute_type(); }
  int64_t default_prefill_rows() const override { return device_->default_prefill_rows(); }
  uint64_t workspace_bytes(int64_t max_rows) const override {
    return device_->workspace_bytes(max_rows);
  }

  void* allocate(std::string_view name, uint64_t bytes) override {
    return device_->allocate(name, bytes);
  }
  void read(void* to, const File& file, uint64_t offset, uint64_t bytes) override {
    device_->read(to, file, offset, bytes);
  }
  void write(void* to, const void* from, uint64_t bytes) override {
    device_->write(to, from, bytes);
  }
  void finish() override;
  void upload(void* to, const void* from, uint64_t bytes) override {
    device_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, uint64_t bytes) override;
  void copy(void* to, const void* from, uint64_t bytes) override { device_->copy(to, from, bytes); }
  void clear(void* to, uint64_t bytes) override { device_->clear(to, bytes); }
  void synchronize() override;
  void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale) override {
    device_->fill_random(to, type, n, seed, scale);
  }

  void embed(const Matrix& table, const Batch& batch) override;
  void qkv(const LayerWeights& w, const Batch& batch, const Activations& a,
           const KvRows& kv) override;
  void attention(const Batch& batch, const Activations& a, const KvRows& kv) override;
  void attention_output(const LayerWeights& w, const Batch& batch, const Activations& a) override;
  void gate_up(const LayerWeights& w, const Batch& batch, const Activations& a) override;
  void down(const LayerWeights& w, const Batch& batch, const Activations& a) override;
  void logits(const ModelWeights& w, const Batch& batch, const Activations& a,
              float* logits) override;
  void sample(const float* logits, int32_t n_ids, const SamplerOptions& options,
              const StepState& state) override;
  int32_t take_drawn() override;
  int64_t steps_ahead() const override { return device_->steps_ahead(); }
  void advance(const StepState& state) override;

  void rotate_rows(const KvRows& kv) override;
  void attention_scores(const void* q, const KvRows& kv, const Zones& zones,
                        const ScoreLists& lists) override;
  void window_attention(const void* queries, int64_t n, const KvRows& kv, const Zones& zones,
                        WindowSum how, const ScoreLists& lists) override;
  void value_norms(const LayerWeights& w, const KvRows& kv, const Zones& zones, ValueNorm how,
                   const ScoreLists& lists) override;
  void group_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                    const ScoreLists& to) override;
  void scale_scores(const ScoreLists& lists, float add, const ScoreLists& by,
                    const Zones& zones) override;
  void pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                   const ScoreLists& to) override;
  void normalize_scores(const ScoreLists& lists, const Zones& zones) override;
  void promote_scores(const Zones& zones, const ScoreLists& lists) override;
  /// A part of loading, and no step of a pass.
  void output_grams(const LayerWeights& w, float* grams) override {
    device_->output_grams(w, grams);
  }
  void key_norms(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override;
  void key_differences(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override;
  void share_scores(const Zones& zones, const ScoreLists& lists) override;
  void chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists) override;
  void add_query_statistics(const Batch& batch, const Activations& a,
                            const QueryStatistics& statistics) override;
  void expected_scores(const QueryStatistics& statistics, const Outlook& outlook, const KvRows& kv,
                       const Zones& zones, const ScoreLists& logits,
                       const ScoreLists& lists) override;
  void random_scores(uint64_t seed, const KvRows& kv, const Zones& zones,
                     const ScoreLists& lists) override;
  void combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                      const ScoreLists& to) override;
  void top_k(const Zones& zones, const ScoreLists& lists) override;
  void set_aside(const Zones& zones, const ScoreLists& lists, float outside) override;
  void count_taken(const RowPool& pool, const Cut* cut, int32_t* taken) override;
  void squeeze_rows(const RowPool& pool, const Cut* cut, const RowMove& move,
                    void* workspace) override;
  uint64_t squeeze_workspace_bytes(int64_t entries) const override {
    return device_->squeeze_workspace_bytes(entries);
  }
  void take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first,
                   float* to) override;
  void list_kept(const KvRows& kv, const Zones& zones, const ScoreLists& lists,
                 const KeptRows& kept) override;
  void gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to) override;

  void add_column_sums(const Batch& batch, const Activations& a, const KvRows& kv) override;
  void choose_slots(const Batch& batch, const KvRows& kv, int64_t recent, int32_t* slot) override;
  void stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override;
  void summarize_pages(const KvRows& kv) override;
  void join_page(const Batch& batch, const KvRows& kv) override;
  void score_pages(const void* q, const KvRows& kv) override;
  void mask_pages(const KvRows& kv) override;

  std::unique_ptr<Recording> record(std::function<void()> steps) override;
  std::unique_ptr<DeviceProfiler> open_profiler() override { return device_->open_profiler(); }

 private:
  std::unique_ptr<Device> device_;
  Watch watch_;  // its last words are told while the device is still there
};

/// While it lives, observers hear nothing: for what only prepares a measurement.
class Unwatched {
 public:
  explicit Unwatched(WatchedDevice* device) : device_(device) {
    if (device_ != nullptr) device_->watch().listen(false);
  }
  ~Unwatched();
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;

 private:
  WatchedDevice* device_;  // or null
};

}  // namespace winnow
