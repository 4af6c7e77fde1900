#include "cuda/cuda_device.h"

#include <algorithm>
#include <utility>

#include "cuda/ceilings.h"
#include "cuda/check.h"
#include "cuda/driver.h"
#include "cuda/graph.h"
#include "cuda/nvtx_names.h"
#include "cuda/pages.h"
#include "cuda/profilers.h"
#include "cuda/random.h"

namespace winnow::cuda {
namespace {

// What the driver takes by itself while kernels are loaded, and what rounding up to pages costs.
constexpr uint64_t kHeadroomBytes = uint64_t{256} << 20;

// Products that a kernel folds at once (q, k and v; gate and up) are rounded to T only then.
constexpr DType kWideType = DType::kF32;

uint64_t round_up(uint64_t bytes) {
  return (bytes + Region::kAlignment - 1) / Region::kAlignment * Region::kAlignment;
}

int require_gpu() {
  const GpuChoice choice = find_gpu();
  if (!choice.why_not.empty()) fail(ExitCode::kDevice, "GPU: ", choice.why_not);
  return choice.device;
}

std::string name_of(int device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "ask for the name");
  return std::string(properties.name) + " (cuda)";
}

}  // namespace

/// Where the parts of Activations::workspace begin for a batch of n rows, in bytes. attention() has
/// all of it to itself.
///
///   | for matrix products: n > kFewRows | normed [n, hidden_size] T | wide [n, wide_size()] fp32 |
struct CudaDevice::WorkspaceLayout {
  uint64_t normed = 0;
  uint64_t wide = 0;
  uint64_t end = 0;
};

CudaDevice::CudaDevice(const ModelConfig& config, DType type, const CudaOptions& options)
    : config_(config),
      heads_(heads_of(config)),
      frequencies_(rope_frequencies(config, 0)),
      type_(type),
      options_(options),
      device_(require_gpu()),
      name_(name_of(device_)),
      stream_(open_stream(device_)),
      gpu_(current_gpu()),
      arena_(make_cuda_pages(device_, stream_.get())) {}

// The buffers that kernels may still be using go away after them.
CudaDevice::~CudaDevice() {
  (void)cudaStreamSynchronize(stream_.get());
}

CudaDevice::OwnedStream CudaDevice::open_stream(int device) {
  check_cuda(cudaSetDevice(device), "start the GPU");
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
  name_stream(stream, "winnow");
  return {stream, &cudaStreamDestroy};
}

uint64_t CudaDevice::available_bytes() const {
  size_t free = 0;
  size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "ask for free memory");
  return free - std::min<uint64_t>(free, kHeadroomBytes);
}

std::string CudaDevice::driver() const {
  return driver_version();
}

Ceilings CudaDevice::measure_ceilings() {
  return cuda::measure_ceilings(available_bytes(), type_, gpu_, gemm_, stream_.get());
}

/// What single steps need stands at the bottom of the scratch region, for as long as the device.
void CudaDevice::reserve(const MemoryPlan& plan) {
  const uint64_t sampler =
      round_up(sample_workspace_bytes(static_cast<int32_t>(config_.vocab_size)));
  const uint64_t winnow = round_up(std::max(
      {expected_scores_workspace_bytes(heads_),  // combine_scores' is part of it
       key_differences_workspace_bytes(heads_), list_kept_workspace_bytes(heads_.n_kv_heads),
       window_attention_workspace_bytes(heads_), normalize_workspace_bytes(heads_.n_heads)}));
  const uint64_t exchange = round_up(attention_decode_exchange_bytes(heads_, kFewRows, gpu_));
  const uint64_t drawn = round_up(sizeof(int32_t));
  weights_ = &arena_.add_region("weights", plan.weights);
  kv_[0] = &arena_.add_region("kv", plan.kv);
  kv_[1] = &arena_.add_region("kv again", plan.kv_again);
  scratch_ = &arena_.add_region("scratch", plan.scratch + sampler + winnow + exchange + drawn);
  for (const Region* region : {weights_, kv_[0], kv_[1], scratch_}) {
    name_memory(region->reservation(), "winnow " + region->name());
  }
  sample_workspace_ = scratch_->allocate("sampler", sampler);
  winnow_workspace_ = scratch_->allocate("winnowing", winnow);
  attention_exchange_ = scratch_->allocate("attention exchange", exchange);
  check_cuda(cudaMemsetAsync(attention_exchange_, kExchangeByte, exchange, stream_.get()),
             "prepare attention");
  n_drawn_ = scratch_->allocate_array<int32_t>("tokens drawn", 1);
  check_cuda(cudaMemsetAsync(n_drawn_, 0, sizeof(int32_t), stream_.get()), "prepare the sampler");
}

void* CudaDevice::allocate(std::string_view name, uint64_t bytes) {
  return weights_->allocate(name, bytes);
}

void CudaDevice::read(void* to, const File& file, uint64_t offset, uint64_t bytes) {
  if (!staging_) {
    staging_.emplace(stream_.get());
    if (options_.note && !staging_->note().empty()) options_.note(staging_->note());
  }
  staging_->read(to, file, offset, bytes);
}

void CudaDevice::finish() {
  check_cuda(cudaStreamSynchronize(stream_.get()), "copy weights to the GPU");
  staging_.reset();
}

void CudaDevice::upload(void* to, const void* from, uint64_t bytes) {
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_.get()),
             "copy to the GPU");
  check_cuda(cudaStreamSynchronize(stream_.get()), "copy to the GPU");
}

void CudaDevice::download(void* to, const void* from, uint64_t bytes) {
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_.get()),
             "copy from the GPU");
  check_cuda(cudaStreamSynchronize(stream_.get()), "copy from the GPU");
}

void CudaDevice::copy(void* to, const void* from, uint64_t bytes) {
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_.get()),
             "copy on the GPU");
}

void CudaDevice::clear(void* to, uint64_t bytes) {
  check_cuda(cudaMemsetAsync(to, 0, bytes, stream_.get()), "clear on the GPU");
}

void CudaDevice::synchronize() {
  check_cuda(cudaStreamSynchronize(stream_.get()), "wait for the GPU");
}

void CudaDevice::fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale) {
  cuda::fill_random(to, type, n, seed, scale, stream_.get());
}

/// Width of the widest product before it is folded: q, k and v, or gate and up.
int64_t CudaDevice::wide_size() const {
  return std::max(config_.qkv_size(), 2 * config_.intermediate_size);
}

CudaDevice::WorkspaceLayout CudaDevice::layout(int64_t n) const {
  const auto bytes = [&](int64_t width, DType type) {
    return round_up(static_cast<uint64_t>(n * width) * dtype_size(type));
  };
  WorkspaceLayout at;
  at.normed = n > kFewRows ? GemmLt::kWorkspaceBytes : 0;
  at.wide = at.normed + bytes(config_.hidden_size, type_);
  at.end = at.wide + bytes(wide_size(), kWideType);
  return at;
}

uint64_t CudaDevice::workspace_bytes(int64_t max_rows) const {
  const int64_t few = std::min(max_rows, kFewRows);
  return std::max(layout(max_rows).end, attention_decode_workspace_bytes(heads_, few));
}

void CudaDevice::norm(const Batch& batch, const float* weight, void* normed) {
  rmsnorm(batch.x, weight, config_.rms_norm_eps, batch.n, config_.hidden_size, normed, type_,
          stream_.get());
}

/// A few rows are bound by reading the weights, which gemv does at once for all of them. The
/// library has no way for some odd shapes: then gemv takes the rows a few at a time.
void CudaDevice::multiply(const Product& p, void* gemm_workspace, const int32_t* stopped) {
  if (p.n > kFewRows && gemm_.multiply(p, gemm_workspace, stream_.get())) return;
  const auto x_row = static_cast<int64_t>(dtype_size(p.w.type)) * p.w.cols;
  const auto y_row = static_cast<int64_t>(dtype_size(p.y_type)) * p.w.rows;
  for (int64_t i = 0; i < p.n; i += kFewRows) {
    const auto* x = static_cast<const std::byte*>(p.x) + i * x_row;
    auto* y = static_cast<std::byte*>(p.y) + i * y_row;
    gemv(p.w, x, std::min(kFewRows, p.n - i), y, p.y_type, p.accumulate, stream_.get(), stopped);
  }
}

void CudaDevice::embed(const Matrix& table, const Batch& batch) {
  cuda::embed(table, batch, stream_.get());
}

void CudaDevice::qkv(const LayerWeights& w, const Batch& batch, const Activations& a,
                     const KvRows& kv) {
  if (fused_qkv(w, batch, a, kv)) return;
  const WorkspaceLayout at = layout(batch.n);
  auto* space = static_cast<std::byte*>(a.workspace);
  norm(batch, w.attention_norm, space + at.normed);
  multiply(
      {.w = w.qkv, .x = space + at.normed, .n = batch.n, .y = space + at.wide, .y_type = kWideType},
      space);
  const bool normed = w.q_norm != nullptr;
  if (normed) {
    norm_heads({.type = kWideType,
                .qkv = space + at.wide,
                .n = batch.n,
                .heads = heads_,
                .bias = w.qkv_bias,
                .q_norm = w.q_norm,
                .k_norm = w.k_norm,
                .eps = config_.rms_norm_eps},
               stream_.get());
  }
  const RopeArgs args{.type = type_,
                      .qkv_type = kWideType,
                      .qkv = space + at.wide,
                      .bias = normed ? nullptr : w.qkv_bias,
                      .q = a.q,
                      .batch = batch,
                      .heads = heads_,
                      .kv = kv};
  // A prompt's are made for its length; a decode step, whose length only the device knows, grows.
  const bool grows = frequencies_.dynamic.positions > 0;
  const bool for_prompt = grows && batch.length > 0;
  rope_and_store(args, for_prompt ? rope_frequencies(config_, batch.length) : frequencies_,
                 stream_.get());
}

void CudaDevice::attention(const Batch& batch, const Activations& a, const KvRows& kv) {
  const AttentionArgs args{.type = type_,
                           .n = batch.n,
                           .q = a.q,
                           .out = a.attention,
                           .lse = a.lse,
                           .workspace = a.workspace,
                           .exchange = attention_exchange_,
                           .heads = heads_,
                           .kv = kv,
                           .gpu = gpu_};
  if (batch.n > kFewRows) {
    attention_prefill(args, stream_.get());
  } else {
    attention_decode(args, stream_.get());
  }
}

void CudaDevice::attention_output(const LayerWeights& w, const Batch& batch, const Activations& a) {
  if (!fused_output(w.o, a.attention, batch)) {
    multiply({.w = w.o, .x = a.attention, .n = batch.n, .y = batch.x, .accumulate = true},
             a.workspace);
  }
  if (w.o_bias != nullptr) {
    add_bias(w.o_bias, batch.n, config_.hidden_size, batch.x, stream_.get());
  }
}

void CudaDevice::gate_up(const LayerWeights& w, const Batch& batch, const Activations& a) {
  if (fused_gate_up(w, batch, a)) return;
  const WorkspaceLayout at = layout(batch.n);
  auto* space = static_cast<std::byte*>(a.workspace);
  norm(batch, w.mlp_norm, space + at.normed);
  multiply({.w = w.gate_up,
            .x = space + at.normed,
            .n = batch.n,
            .y = space + at.wide,
            .y_type = kWideType},
           space);
  swiglu(space + at.wide, kWideType, batch.n, config_.intermediate_size, a.h, type_, stream_.get());
}

void CudaDevice::down(const LayerWeights& w, const Batch& batch, const Activations& a) {
  if (fused_output(w.down, a.h, batch)) return;
  multiply({.w = w.down, .x = a.h, .n = batch.n, .y = batch.x, .accumulate = true}, a.workspace);
}

void CudaDevice::logits(const ModelWeights& w, const Batch& batch, const Activations& a,
                        float* logits) {
  if (fused_logits(w, batch, logits)) return;
  const WorkspaceLayout at = layout(batch.n);
  auto* space = static_cast<std::byte*>(a.workspace);
  norm(batch, w.final_norm, space + at.normed);
  multiply({.w = w.lm_head, .x = space + at.normed, .n = batch.n, .y = logits}, space,
           batch.stopped);
}

void CudaDevice::sample(const float* logits, int32_t n_ids, const SamplerOptions& options,
                        const StepState& state) {
  cuda::sample({.logits = logits,
                .n_ids = n_ids,
                .options = options,
                .state = state,
                .drawn = drawn_.slots(n_drawn_),
                .workspace = sample_workspace_},
               stream_.get());
}

int32_t CudaDevice::take_drawn() {
  const Drawn drawn = drawn_.take(stream_.get());
  const char* const kNotFinite = "logits are not finite (";
  switch (drawn.fault) {
    case LogitsFault::kNone: break;
    case LogitsFault::kNan: fail(ExitCode::kInternal, kNotFinite, "NaN at id ", drawn.id, ")");
    case LogitsFault::kInfinity:
      fail(ExitCode::kInternal, kNotFinite, "infinity at id ", drawn.id, ")");
    case LogitsFault::kAllMasked: fail(ExitCode::kInternal, kNotFinite, "all are -infinity)");
  }
  return drawn.id;
}

void CudaDevice::advance(const StepState& state) {
  cuda::advance(state, stream_.get());
}

std::unique_ptr<Recording> CudaDevice::record(std::function<void()> steps) {
  return make_recording(std::move(steps), stream_.get(), options_.graph);
}

std::unique_ptr<DeviceProfiler> CudaDevice::open_profiler() {
  return make_profiler(stream_.get());
}

}  // namespace winnow::cuda

namespace winnow {

std::string why_no_gpu() {
  return cuda::find_gpu().why_not;
}

std::unique_ptr<Device> make_cuda_device(const ModelConfig& config, DType type,
                                         const CudaOptions& options) {
  return std::make_unique<cuda::CudaDevice>(config, type, options);
}

}  // namespace winnow
