#include "src/cpu/cpu_device.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/cpu/ceilings.h"
#include "src/cpu/matmul.h"
#include "src/cpu/ops.h"
#include "src/cpu/pages.h"
#include "src/cpu/threads.h"
#include "src/cpu/winnow.h"
#include "src/host_memory.h"

namespace winnow {
namespace {

/// Nothing to prepare on a CPU: every run calls the steps.
class CalledRecording final : public Recording {
 public:
  explicit CalledRecording(std::function<void()> steps) : steps_(std::move(steps)) {}
  void run() override { steps_(); }

 private:
  std::function<void()> steps_;
};

class CpuDevice final : public Device {
 public:
  CpuDevice(const ModelConfig& config, int threads) : config_(config), arena_(make_host_pages()) {
    cpu::start_threads(threads);
  }

  std::string name() const override {
    const int threads = omp_get_max_threads();
    return "cpu (" + std::to_string(threads) + (threads == 1 ? " thread)" : " threads)");
  }
  std::string driver() const override { return ""; }
  uint64_t available_bytes() const override { return available_host_memory(); }
  Ceilings measure_ceilings() override { return cpu::measure_ceilings(available_bytes()); }
  const Arena& arena() const override { return arena_; }
  Region& kv_region(int side) override { return *kv_[static_cast<size_t>(side)]; }
  Region& scratch_region() override { return *scratch_; }
  DType compute_type() const override { return DType::kF32; }

  // Enough rows that turning a panel of weights is cheap beside using it, few enough that the rows
  // stay in the second-level cache.
  int64_t default_prefill_rows() const override { return 512; }

  void reserve(const MemoryPlan& plan) override {
    weights_ = &arena_.add_region("weights", plan.weights);
    kv_[0] = &arena_.add_region("kv", plan.kv);
    kv_[1] = &arena_.add_region("kv again", plan.kv_again);
    scratch_ = &arena_.add_region("scratch", plan.scratch);
  }

  void* allocate(std::string_view name, uint64_t bytes) override {
    return weights_->allocate(name, bytes);
  }
  void read(void* to, const File& file, uint64_t offset, uint64_t bytes) override {
    file.read_at(offset, {static_cast<std::byte*>(to), bytes});
  }
  void write(void* to, const void* from, uint64_t bytes) override { std::memcpy(to, from, bytes); }
  void finish() override {}
  void upload(void* to, const void* from, uint64_t bytes) override { write(to, from, bytes); }
  void download(void* to, const void* from, uint64_t bytes) override { write(to, from, bytes); }
  void copy(void* to, const void* from, uint64_t bytes) override { write(to, from, bytes); }
  void clear(void* to, uint64_t bytes) override { std::memset(to, 0, bytes); }

  void synchronize() override {}

  void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale) override {
    cpu::fill_random(to, type, n, seed, scale);
  }

  uint64_t workspace_bytes(int64_t max_rows) const override {
    const auto floats =
        static_cast<uint64_t>(max_rows) * static_cast<uint64_t>(config_.hidden_size + wide_size());
    return floats * sizeof(float);
  }

  void embed(const Matrix& table, const Batch& batch) override { cpu::embed(table, batch); }

  void qkv(const LayerWeights& w, const Batch& batch, const Activations& a,
           const KvRows& kv) override {
    const Workspace space(*this, batch, a);
    norm(batch, w.attention_norm, space.normed);
    cpu::matmul(w.qkv, space.normed, batch.n, space.wide);
    if (is_stopped(batch)) return;
    if (w.qkv_bias != nullptr) cpu::add_bias(w.qkv_bias, batch.n, config_.qkv_size(), space.wide);
    const RopeFrequencies frequencies = rope_frequencies(config_, text_length(batch));
#pragma omp parallel for schedule(static) if (batch.n > 1)
    for (int64_t i = 0; i < batch.n; ++i) {
      float* const qkv = space.wide + i * config_.qkv_size();
      if (w.q_norm != nullptr) norm_heads(w, qkv);
      cpu::rotate_and_store(config_, batch, i, frequencies, qkv, floats(a.q), kv);
    }
  }

  void attention(const Batch& batch, const Activations& a, const KvRows& kv) override {
    cpu::attention(config_, batch.n, floats(a.q), kv, floats(a.attention), a.lse);
  }

  void attention_output(const LayerWeights& w, const Batch& batch, const Activations& a) override {
    cpu::matmul(w.o, floats(a.attention), batch.n, batch.x, true);
    if (w.o_bias != nullptr) cpu::add_bias(w.o_bias, batch.n, config_.hidden_size, batch.x);
  }

  void gate_up(const LayerWeights& w, const Batch& batch, const Activations& a) override {
    const Workspace space(*this, batch, a);
    norm(batch, w.mlp_norm, space.normed);
    cpu::matmul(w.gate_up, space.normed, batch.n, space.wide);
    cpu::swiglu(space.wide, batch.n, config_.intermediate_size, floats(a.h));
  }

  void down(const LayerWeights& w, const Batch& batch, const Activations& a) override {
    cpu::matmul(w.down, floats(a.h), batch.n, batch.x, true);
  }

  void logits(const ModelWeights& w, const Batch& batch, const Activations& a,
              float* logits) override {
    if (is_stopped(batch)) return;
    const Workspace space(*this, batch, a);
    norm(batch, w.final_norm, space.normed);
    cpu::matmul(w.lm_head, space.normed, batch.n, logits);
  }

  void sample(const float* logits, int32_t n_ids, const SamplerOptions& options,
              const StepState& state) override {
    if (*state.stopped != 0) return;
    const auto n = static_cast<size_t>(n_ids);
    const auto step = static_cast<uint64_t>(*state.n_sampled);
    std::vector<float> copy(logits, logits + n);  // the repeat penalty changes its logits
    const int32_t token = winnow::sample(copy, options, {state.seen, n}, step);
    *state.token = token;
    state.seen[token] = 1;
    *state.n_sampled += 1;
    *state.stopped = std::count(state.stop_ids, state.stop_ids + kMaxStopIds, token) > 0 ? 1 : 0;
    drawn_.push_back(token);
  }

  int32_t take_drawn() override {
    WINNOW_CHECK(!drawn_.empty(), "no token was drawn");
    const int32_t token = drawn_.front();
    drawn_.pop_front();
    return token;
  }

  int64_t steps_ahead() const override {
    return 0;
  }  // a step is done when it returns

  void advance(const StepState& state) override {
    if (*state.stopped != 0) return;
    *state.position += 1;
    for (int64_t i = 0; i < state.n_counts; ++i) {
      state.slot[i] += 1;
      if (state.ring_rows[i] == 0) {
        state.visible[i] += 1;
      } else if (state.slot[i] == state.visible[i]) {  // past the ring's last row
        state.slot[i] -= state.ring_rows[i];
      }
    }
  }

  void rotate_rows(const KvRows& kv) override {
    cpu::rotate_rows(config_, kv);
  }

  void attention_scores(const void* q, const KvRows& kv, const Zones& zones,
                        const ScoreLists& lists) override {
    cpu::attention_scores(config_, static_cast<const float*>(q), kv, zones, lists);
  }

  void random_scores(uint64_t seed, const KvRows& kv, const Zones& zones,
                     const ScoreLists& lists) override {
    cpu::random_scores(config_, seed, kv, zones, lists);
  }

  void combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                      const ScoreLists& to) override {
    cpu::combine_scores(config_, from, how, zones, to);
  }

  void window_attention(const void* queries, int64_t n, const KvRows& kv, const Zones& zones,
                        WindowSum how, const ScoreLists& lists) override {
    cpu::window_attention(config_, static_cast<const float*>(queries), n, kv, zones, how, lists);
  }

  void value_norms(const LayerWeights& w, const KvRows& kv, const Zones& zones, ValueNorm how,
                   const ScoreLists& lists) override {
    cpu::value_norms(config_, w, kv, zones, how, lists);
  }

  void group_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                    const ScoreLists& to) override {
    cpu::group_scores(config_, from, how, zones, to);
  }

  void scale_scores(const ScoreLists& lists, float add, const ScoreLists& by,
                    const Zones& zones) override {
    cpu::scale_scores(config_, lists, add, by, zones);
  }

  void pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                   const ScoreLists& to) override {
    cpu::pool_scores(config_, from, width, how, zones, to);
  }

  void normalize_scores(const ScoreLists& lists, const Zones& zones) override {
    cpu::normalize_scores(config_, lists, zones);
  }

  void promote_scores(const Zones& zones, const ScoreLists& lists) override {
    cpu::promote_scores(config_, zones, lists);
  }

  void output_grams(const LayerWeights& w, float* grams) override {
    cpu::output_grams(config_, w.o, grams);
  }

  void key_norms(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override {
    cpu::key_norms(config_, kv, zones, lists);
  }

  void key_differences(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override {
    cpu::key_differences(config_, kv, zones, lists);
  }

  void share_scores(const Zones& zones, const ScoreLists& lists) override {
    cpu::share_scores(config_, zones, lists);
  }

  void chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists) override {
    cpu::chunk_scores(config_, zones, length, lists);
  }

  void add_query_statistics(const Batch& batch, const Activations& a,
                            const QueryStatistics& statistics) override {
    const RopeFrequencies frequencies = rope_frequencies(config_, text_length(batch));
    cpu::add_query_statistics(config_, batch, frequencies, floats(a.q), statistics);
  }

  void expected_scores(const QueryStatistics& statistics, const Outlook& outlook, const KvRows& kv,
                       const Zones& zones, const ScoreLists& logits,
                       const ScoreLists& lists) override {
    const RopeFrequencies frequencies =
        rope_frequencies(config_, outlook.position + outlook.n_tokens);
    const MeanRotation rotation =
        mean_rotation(frequencies, config_.head_dim, outlook.position, outlook.n_tokens);
    cpu::expected_scores(config_, statistics, outlook, rotation, kv, zones, logits, lists);
  }

  void add_column_sums(const Batch& batch, const Activations& a, const KvRows& kv) override {
    if (is_stopped(batch)) return;
    cpu::add_column_sums(config_, batch.n, floats(a.q), a.lse, kv);
  }

  void choose_slots(const Batch& batch, const KvRows& kv, int64_t recent, int32_t* slot) override {
    if (!is_stopped(batch)) cpu::choose_slots(config_, batch.position[0], kv, recent, slot);
  }

  void stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists) override {
    cpu::stored_scores(config_, kv, zones, lists);
  }

  void summarize_pages(const KvRows& kv) override {
    cpu::summarize_pages(config_, kv);
  }

  void join_page(const Batch& batch, const KvRows& kv) override {
    if (!is_stopped(batch)) cpu::join_page(config_, kv);
  }

  void score_pages(const void* q, const KvRows& kv) override {
    cpu::score_pages(config_, static_cast<const float*>(q), kv);
  }

  void mask_pages(const KvRows& kv) override {
    cpu::mask_pages(config_, kv);
  }

  void top_k(const Zones& zones, const ScoreLists& lists) override {
    cpu::top_k(config_, zones, lists);
  }

  void set_aside(const Zones& zones, const ScoreLists& lists, float outside) override {
    cpu::set_aside(config_, zones, lists, outside);
  }

  void count_taken(const RowPool& pool, const Cut* cut, int32_t* taken) override {
    cpu::count_taken(pool, *cut, taken);
  }

  void take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first,
                   float* to) override {
    cpu::take_scores(config_, lists, kept, first, to);
  }

  uint64_t squeeze_workspace_bytes(int64_t entries) const override {
    return static_cast<uint64_t>(entries) * sizeof(float);
  }

  void squeeze_rows(const RowPool& pool, const Cut* cut, const RowMove& move,
                    void* workspace) override {
    cpu::squeeze_rows(config_, pool, *cut, move, floats(workspace));
  }

  void list_kept(const KvRows& kv, const Zones& zones, const ScoreLists& lists,
                 const KeptRows& kept) override {
    cpu::list_kept(config_, kv, zones, lists, kept);
  }

  void gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to) override {
    cpu::gather_rows(config_, from, kept, to);
  }

  std::unique_ptr<Recording> record(std::function<void()> steps) override {
    return std::make_unique<CalledRecording>(std::move(steps));
  }

 private:
  /// Activations::workspace, cut in two.
  struct Workspace {
    Workspace(const CpuDevice& device, const Batch& batch, const Activations& a)
        : normed(floats(a.workspace)), wide(normed + batch.n * device.config_.hidden_size) {}
    float* normed;  // [n, hidden_size]
    float* wide;    // [n, wide_size()]
  };

  static float* floats(void* activations) {
    return static_cast<float*>(activations);
  }
  static bool is_stopped(const Batch& batch) {
    return batch.stopped != nullptr && *batch.stopped != 0;
  }

  /// Width of the widest product before it is folded: q, k and v, or gate and up.
  int64_t wide_size() const {
    return std::max(config_.qkv_size(), 2 * config_.intermediate_size);
  }

  void norm(const Batch& batch, const float* weight, float* normed) const {
    cpu::rmsnorm(batch.x, weight, config_.rms_norm_eps, batch.n, config_.hidden_size, normed);
  }

  /// A decode step is one row: the text ends with it.
  static int64_t text_length(const Batch& batch) {
    return batch.length > 0 ? batch.length : batch.position[0] + 1;
  }

  /// Each head of q and k by itself, in place.  qkv [qkv_size]
  void norm_heads(const LayerWeights& w, float* qkv) const {
    float* const k = qkv + config_.q_size();
    const float eps = config_.rms_norm_eps;
    cpu::rmsnorm(qkv, w.q_norm, eps, config_.n_heads, config_.head_dim, qkv);
    cpu::rmsnorm(k, w.k_norm, eps, config_.n_kv_heads, config_.head_dim, k);
  }

  ModelConfig config_;
  Arena arena_;
  Region* weights_ = nullptr;
  std::array<Region*, 2> kv_{};
  Region* scratch_ = nullptr;
  std::deque<int32_t> drawn_;  // and not yet taken
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(const ModelConfig& config, int threads) {
  return std::make_unique<CpuDevice>(config, threads);
}

}  // namespace winnow
