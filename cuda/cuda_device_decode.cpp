// The steps of a decode token that are one launch each: gemv_fused.h. Where --no-fuse is given, for
// more rows than one, and for shapes that these kernels do not take, cuda_device.cpp's steps do.
#include "cuda/cuda_device.h"

namespace winnow::cuda {

std::optional<GemvPlan> CudaDevice::fused_plan(const Batch& batch, const Matrix& w,
                                               GemvInput input) const {
  if (!options_.fuse || batch.n != 1) return std::nullopt;
  return plan_gemv(w, input, gpu_);
}

NormedRow CudaDevice::normed_row(const Batch& batch, const float* weight) const {
  return {.x = batch.x, .weight = weight, .eps = config_.rms_norm_eps};
}

bool CudaDevice::fused_qkv(const LayerWeights& w, const Batch& batch, const Activations& a,
                           const KvRows& kv) {
  const bool norms_heads = w.q_norm != nullptr || w.k_norm != nullptr;
  const bool grows = frequencies_.dynamic.positions > 0;
  if (norms_heads || grows || kv.places_in_cache()) return false;
  const auto plan = fused_plan(batch, w.qkv, GemvInput::kNormed);
  if (!plan) return false;
  const GemvQkvArgs args{.w = w.qkv,
                         .bias = w.qkv_bias,
                         .in = normed_row(batch, w.attention_norm),
                         .position = batch.position,
                         .stopped = batch.stopped,
                         .q = a.q,
                         .heads = heads_,
                         .kv = kv};
  gemv_qkv(args, frequencies_, *plan, stream_.get());
  return true;
}

bool CudaDevice::fused_output(const Matrix& w, const void* in, const Batch& batch) {
  const auto plan = fused_plan(batch, w, GemvInput::kPlain);
  if (!plan) return false;
  gemv_output(w, in, batch.x, *plan, stream_.get());
  return true;
}

bool CudaDevice::fused_gate_up(const LayerWeights& w, const Batch& batch, const Activations& a) {
  const auto plan = fused_plan(batch, w.gate_up, GemvInput::kNormed);
  if (!plan) return false;
  gemv_gate_up(w.gate_up, normed_row(batch, w.mlp_norm), a.h, *plan, stream_.get());
  return true;
}

bool CudaDevice::fused_logits(const ModelWeights& w, const Batch& batch, float* logits) {
  const auto plan = fused_plan(batch, w.lm_head, GemvInput::kNormed);
  if (!plan) return false;
  gemv_logits(w.lm_head, normed_row(batch, w.final_norm), batch.stopped, logits, *plan,
              stream_.get());
  return true;
}

}  // namespace winnow::cuda
