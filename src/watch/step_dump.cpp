#include "src/watch/step_dump.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include "src/base/error.h"

namespace winnow {
namespace {

/// Whether the step leaves scores that were not there before, and of which rows: of all that are
/// held, or of the zones'.
enum class ScoredRows { kNone, kHeld, kZone };

ScoredRows scored_rows(StepKind kind) {
  switch (kind) {
    case StepKind::kAttentionScores:
    case StepKind::kWindowAttention:
    case StepKind::kValueNorms:
    case StepKind::kKeyNorms:
    case StepKind::kKeyDifferences:
    case StepKind::kShareScores:
    case StepKind::kExpectedScores:
    case StepKind::kRandomScores:
    case StepKind::kStoredScores:
    case StepKind::kCombineScores: return ScoredRows::kHeld;
    case StepKind::kGroupScores:
    case StepKind::kScaleScores:
    case StepKind::kPoolScores:
    case StepKind::kNormalizeScores:
    case StepKind::kPromoteScores:
    case StepKind::kChunkScores: return ScoredRows::kZone;
    default: return ScoredRows::kNone;
  }
}

std::vector<int32_t> download_numbers(Device& device, const int32_t* from, int64_t n) {
  std::vector<int32_t> numbers(static_cast<size_t>(n));
  device.download(numbers.data(), from, numbers.size() * sizeof(int32_t));
  return numbers;
}

}  // namespace

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
  const bool prompt = batch.length > 0;
  if (prompt) ++passes_;
  place_ = root_;
  if (prompt && passes_ == 1) return;
  char name[32];
  std::snprintf(name, sizeof(name), prompt ? "pass_%04lld" : "token_%04lld",
                static_cast<long long>(prompt ? passes_ : token_));
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
    if (is_winnowing(step.kind)) {
      write_scores(span);
    } else {
      write_layer_step(span);
    }
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

void StepDump::write_scores(const Span& span) {
  const Step& step = *span.step;
  const ScoredRows which = scored_rows(step.kind);
  if (which == ScoredRows::kNone || step.lists->n == 0) return;
  const Zones& zones = *step.zones;
  const ScoreLists& lists = *step.lists;
  const int64_t heads = root_.config().n_kv_heads;
  const auto rows = download_numbers(*device_, zones.rows, heads);
  const auto begin = download_numbers(*device_, zones.begin, heads);
  const auto end = download_numbers(*device_, zones.end, heads);
  const std::vector<float> held =
      download_floats(*device_, lists.score, DType::kF32, lists.n * lists.stride);
  const int64_t width = *std::ranges::max_element(rows);
  std::vector<float> scores(static_cast<size_t>(lists.n * width),
                            std::numeric_limits<float>::quiet_NaN());
  for (int64_t i = 0; i < lists.n; ++i) {
    const auto h = static_cast<size_t>(i * heads / lists.n);
    const int64_t from = which == ScoredRows::kHeld ? 0 : begin[h];
    const int64_t to = which == ScoredRows::kHeld ? rows[h] : end[h];
    std::copy(held.begin() + i * lists.stride + from, held.begin() + i * lists.stride + to,
              scores.begin() + i * width + from);
  }
  NpyWriter file(place_->file(span.number, step_name(step.kind)), lists.n, width);
  file.append(scores);
  file.finish();
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
  device_->download(first.data(), step.kv->first, heads * sizeof(int64_t));
  const auto slot = download_numbers(*device_, step.kv->slot, c.n_kv_heads);
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
