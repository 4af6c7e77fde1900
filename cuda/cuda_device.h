// The GPU: every step of a forward pass as a few kernels on one stream.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "cuda/drawn_tokens.h"
#include "cuda/factory.h"
#include "cuda/gemm_lt.h"
#include "cuda/gemv_fused.h"
#include "cuda/kernels.h"
#include "cuda/staging.h"
#include "src/arena.h"
#include "src/device.h"
#include "weights/config.h"

namespace winnow::cuda {

class CudaDevice final : public Device {
 public:
  /// Fails with kDevice where there is no GPU that can be used.
  CudaDevice(const ModelConfig& config, DType type, const CudaOptions& options);
  ~CudaDevice() override;

  std::string name() const override { return name_; }
  std::string driver() const override;
  uint64_t available_bytes() const override;
  Ceilings measure_ceilings() override;
  void reserve(const MemoryPlan& plan) override;
  const Arena& arena() const override { return arena_; }
  Region& kv_region(int side) override { return *kv_[static_cast<size_t>(side)]; }
  Region& scratch_region() override { return *scratch_; }
  DType compute_type() const override { return type_; }
  int64_t default_prefill_rows() const override { return 8448; }  // fills 132 multiprocessors
  uint64_t workspace_bytes(int64_t max_rows) const override;

  void* allocate(std::string_view name, uint64_t bytes) override;
  void read(void* to, const File& file, uint64_t offset, uint64_t bytes) override;
  void write(void* to, const void* from, uint64_t bytes) override { upload(to, from, bytes); }
  void finish() override;
  void upload(void* to, const void* from, uint64_t bytes) override;
  void download(void* to, const void* from, uint64_t bytes) override;
  void copy(void* to, const void* from, uint64_t bytes) override;
  void clear(void* to, uint64_t bytes) override;

  void synchronize() override;
  void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale) override;

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
  int64_t steps_ahead() const override { return options_.graph ? kStepsAhead : 0; }
  void advance(const StepState& state) override;

  void rotate_rows(const KvRows& kv) override;
  void attention_scores(const void* q, const KvRows& kv, const Zones& zones,
                        const ScoreLists& lists) override;
  void random_scores(uint64_t seed, const KvRows& kv, const Zones& zones,
                     const ScoreLists& lists) override;
  void combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                      const ScoreLists& to) override;
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
  void output_grams(const LayerWeights& w, float* grams) override;

  void key_norms(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override;
  void key_differences(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override;
  void share_scores(const Zones& zones, const ScoreLists& lists) override;
  void chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists) override;
  void add_query_statistics(const Batch& batch, const Activations& a,
                            const QueryStatistics& statistics) override;
  void expected_scores(const QueryStatistics& statistics, const Outlook& outlook, const KvRows& kv,
                       const Zones& zones, const ScoreLists& logits,
                       const ScoreLists& lists) override;
  void top_k(const Zones& zones, const ScoreLists& lists) override;
  void set_aside(const Zones& zones, const ScoreLists& lists, float outside) override;
  void take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first,
                   float* to) override;
  void count_taken(const RowPool& pool, const Cut* cut, int32_t* taken) override;
  void squeeze_rows(const RowPool& pool, const Cut* cut, const RowMove& move,
                    void* workspace) override;
  uint64_t squeeze_workspace_bytes(int64_t entries) const override;
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
  std::unique_ptr<DeviceProfiler> open_profiler() override;

 private:
  // One step runs, the next waits behind it: the GPU has always something to do.
  static constexpr int64_t kStepsAhead = 2;

  struct WorkspaceLayout;
  using OwnedStream = std::unique_ptr<std::remove_pointer_t<Stream>, decltype(&cudaStreamDestroy)>;

  static OwnedStream open_stream(int device);
  int64_t wide_size() const;
  WorkspaceLayout layout(int64_t n) const;
  void norm(const Batch& batch, const float* weight, void* normed);
  void multiply(const Product& product, void* gemm_workspace, const int32_t* stopped = nullptr);

  // cuda_device_decode.cpp: steps that are one launch. They return false where the plain ones must
  // do.
  std::optional<GemvPlan> fused_plan(const Batch& batch, const Matrix& w, GemvInput input) const;
  NormedRow normed_row(const Batch& batch, const float* weight) const;
  bool fused_qkv(const LayerWeights& w, const Batch& batch, const Activations& a, const KvRows& kv);
  bool fused_output(const Matrix& w, const void* in, const Batch& batch);
  bool fused_gate_up(const LayerWeights& w, const Batch& batch, const Activations& a);
  bool fused_logits(const ModelWeights& w, const Batch& batch, float* logits);

  ModelConfig config_;
  Heads heads_;
  RopeFrequencies frequencies_;
  DType type_;
  CudaOptions options_;
  int device_;
  std::string name_;
  OwnedStream stream_;  // all work of the device, in order
  Gpu gpu_;
  GemmLt gemm_;
  Arena arena_;
  Region* weights_ = nullptr;
  std::array<Region*, 2> kv_{};
  Region* scratch_ = nullptr;
  DrawnTokens drawn_;
  int32_t* n_drawn_ = nullptr;          // [1] tokens that the device has drawn
  void* sample_workspace_ = nullptr;    // sample_workspace_bytes(vocab_size)
  void* winnow_workspace_ = nullptr;    // enough for each step of winnowing
  void* attention_exchange_ = nullptr;  // attention_decode_exchange_bytes of kFewRows
  std::optional<Staging> staging_;      // while weights are read
};

}  // namespace winnow::cuda
