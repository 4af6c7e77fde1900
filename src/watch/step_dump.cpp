#include "src/watch/step_dump.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "src/base/error.h"

namespace winnow {

void StepDump::attach(Device& device, std::string_view /*timer*/) {
  device_ = &device;
}

void StepDump::begin(const Span& span) {
  if (span.kind == SpanKind::kToken) token_ = span.number;
  const bool pass = span.kind == SpanKind::kStep && span.step->kind == StepKind::kEmbed;
  if (pass) begin_pass(*span.step->batch);
}

/// What an earlier pass did not complete is dropped.
void StepDump::begin_pass(const Batch& batch) {
  open_.clear();
  n_ = batch.n;
  place_ = root_;
  if (batch.length > 0) return;
  char name[32];
  std::snprintf(name, sizeof(name), "token_%04lld", static_cast<long long>(token_));
  place_ = root_.folder(name);
}

void StepDump::end(const Span& span) {
  if (span.step == nullptr || !place_) return;
  const Step& step = *span.step;
  const ModelConfig& c = root_.config();
  if (step.kind == StepKind::kEmbed) {
    write(-1, "embed", {step.batch->n, c.hidden_size}, step.batch->x, DType::kF32);
  } else if (step.kind == StepKind::kLogits && step.batch->n == 1) {
    n_ = 1;
    write(-1, "logits", {1, c.vocab_size}, step.logits, DType::kF32);
  } else if (span.number >= 0 && root_.wants(span.number)) {
    write_layer_step(span);
  }
}

void StepDump::write_layer_step(const Span& span) {
  const ModelConfig& c = root_.config();
  const DType type = device_->compute_type();
  const Step& step = *span.step;
  const int64_t l = span.number;
  const std::string name = step_name(step.kind);
  const auto shape = [&](int64_t width) { return std::vector<int64_t>{step.batch->n, width}; };
  switch (step.kind) {
    case StepKind::kQkv:
      write(l, "qkv.q", {step.batch->n, c.n_heads, c.head_dim}, step.activations->q, type);
      write_rows(l, "qkv.k", step, step.kv->k);
      write_rows(l, "qkv.v", step, step.kv->v);
      break;
    case StepKind::kAttention:
      write(l, name, {step.batch->n, c.n_heads, c.head_dim}, step.activations->attention, type);
      break;
    case StepKind::kGateUp:
      write(l, name, shape(c.intermediate_size), step.activations->h, type);
      break;
    case StepKind::kAttentionOutput:
    case StepKind::kDown: write(l, name, shape(c.hidden_size), step.batch->x, DType::kF32); break;
    default: break;  // nothing that a later pass over the same text could be compared with
  }
}

/// `shape` is that of the batch, whose rows lie at `from`.
void StepDump::write(int64_t layer, const std::string& name, std::vector<int64_t> shape,
                     const void* from, DType type) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  append(layer, name, std::move(shape), download_floats(*device_, from, type, count));
}

/// The rows of keys or values that the batch has become, gathered from all heads.
void StepDump::write_rows(int64_t layer, const std::string& name, const Step& step,
                          const void* from) {
  const ModelConfig& c = root_.config();
  const DType type = device_->compute_type();
  const int64_t n = step.batch->n;
  const auto heads = static_cast<size_t>(c.n_kv_heads);
  std::vector<int64_t> first(heads);
  std::vector<int32_t> slot(heads);
  device_->download(first.data(), step.kv->first, heads * sizeof(int64_t));
  device_->download(slot.data(), step.kv->slot, heads * sizeof(int32_t));
  std::vector<float> rows(static_cast<size_t>(n * c.n_kv_heads * c.head_dim));
  for (size_t h = 0; h < heads; ++h) {
    const int64_t row = first[h] + slot[h] + step.kv->appended;
    const auto* at = static_cast<const std::byte*>(from) +
                     static_cast<uint64_t>(row * c.head_dim) * dtype_size(type);
    const std::vector<float> head = download_floats(*device_, at, type, n * c.head_dim);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t to = (i * c.n_kv_heads + static_cast<int64_t>(h)) * c.head_dim;
      std::copy_n(head.begin() + i * c.head_dim, c.head_dim, rows.begin() + to);
    }
  }
  append(layer, name, {n, c.n_kv_heads, c.head_dim}, rows);
}

void StepDump::append(int64_t layer, const std::string& name, std::vector<int64_t> shape,
                      std::span<const float> rows) {
  const std::filesystem::path path = place_->file(layer, name);
  Open& open = open_[path.native()];
  const int64_t n = std::exchange(shape.front(), n_);
  if (!open.file) open = {std::make_unique<NpyWriter>(path, shape), n_};
  open.file->append(rows);
  open.missing -= n;
  if (open.missing > 0) return;
  open.file->finish();
  open_.erase(path.native());
}

}  // namespace winnow
