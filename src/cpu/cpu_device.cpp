#include "src/cpu/cpu_device.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/cpu/matmul.h"
#include "src/cpu/ops.h"
#include "src/cpu/threads.h"
#include "src/host_memory.h"

namespace winnow {
namespace {

constexpr uint32_t kAllHeads = 0xffffffffU;  // a new row is seen by its whole group

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
  uint64_t available_bytes() const override { return available_host_memory(); }
  const Arena& arena() const override { return arena_; }
  Region& kv_region() override { return *kv_; }
  Region& scratch_region() override { return *scratch_; }
  DType compute_type() const override { return DType::kF32; }

  // Enough rows that turning a panel of weights is cheap beside using it, few enough that the rows
  // stay in the second-level cache.
  int64_t default_prefill_rows() const override { return 512; }

  void reserve(const MemoryPlan& plan) override {
    weights_ = &arena_.add_region("weights", plan.weights);
    kv_ = &arena_.add_region("kv", plan.kv);
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
#pragma omp parallel for schedule(static) if (batch.n > 1)
    for (int64_t i = 0; i < batch.n; ++i) {
      rotate_and_store(batch, i, space.wide + i * config_.qkv_size(), floats(a.q), kv);
    }
  }

  void attention(const Batch& batch, const Activations& a, const KvRows& kv) override {
    cpu::attention(config_, batch.n, floats(a.q), kv, floats(a.attention));
  }

  void attention_output(const LayerWeights& w, const Batch& batch, const Activations& a) override {
    cpu::matmul(w.o, floats(a.attention), batch.n, batch.x, true);
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
    const Workspace space(*this, batch, a);
    norm(batch, w.final_norm, space.normed);
    cpu::matmul(w.lm_head, space.normed, batch.n, logits);
  }

  void sample(const float* logits, int32_t n_ids, const SamplerOptions& options,
              const StepState& state) override {
    const auto n = static_cast<size_t>(n_ids);
    const auto step = static_cast<uint64_t>(*state.n_sampled);
    std::vector<float> copy(logits, logits + n);  // the repeat penalty changes its logits
    *state.token = winnow::sample(copy, options, {state.seen, n}, step);
    state.seen[*state.token] = 1;
    *state.n_sampled += 1;
  }

  void advance(int64_t n, int64_t n_counts, const StepState& state) override {
    const auto n_rows = static_cast<int32_t>(n);
    *state.position += n_rows;
    for (int64_t i = 0; i < n_counts; ++i) state.rows[i] += n_rows;
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

  /// Width of the widest product before it is folded: q, k and v, or gate and up.
  int64_t wide_size() const {
    return std::max(config_.qkv_size(), 2 * config_.intermediate_size);
  }

  void norm(const Batch& batch, const float* weight, float* normed) const {
    cpu::rmsnorm(batch.x, weight, config_.rms_norm_eps, batch.n, config_.hidden_size, normed);
  }

  /// Rotates q and k of batch row i and puts k and v into the row's place in every head.
  /// qkv [qkv_size]; q [n, n_heads, head_dim]
  void rotate_and_store(const Batch& batch, int64_t i, const float* qkv, float* q,
                        const KvRows& kv) const {
    const int64_t head_dim = config_.head_dim;
    float cos_sin[kMaxHeadDim];
    cpu::rope_angles(batch.position[i], config_.rope_theta, head_dim, cos_sin);
    cpu::rope(qkv, cos_sin, config_.n_heads, head_dim, q + i * config_.q_size());
    const float* k = qkv + config_.q_size();
    const float* v = k + config_.kv_size();
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) {
      const int64_t entry = kv.first[h] + kv.rows[h] + kv.appended + i;
      cpu::rope(k + h * head_dim, cos_sin, 1, head_dim,
                static_cast<float*>(kv.k) + entry * head_dim);
      std::copy_n(v + h * head_dim, head_dim, static_cast<float*>(kv.v) + entry * head_dim);
      kv.position[entry] = batch.position[i];
      kv.mask[entry] = kAllHeads;
    }
  }

  ModelConfig config_;
  Arena arena_;
  Region* weights_ = nullptr;
  Region* kv_ = nullptr;
  Region* scratch_ = nullptr;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(const ModelConfig& config, int threads) {
  return std::make_unique<CpuDevice>(config, threads);
}

}  // namespace winnow
