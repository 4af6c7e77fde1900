#include "src/watch/watched_device.h"

#include <utility>

namespace winnow {
namespace {

/// A recorded decode step of a watched device.
class WatchedRecording final : public Recording {
 public:
  WatchedRecording(std::unique_ptr<Recording> recording, Watch& watch)
      : recording_(std::move(recording)), watch_(watch) {}
  void run() override {
    watch_.token([&] { recording_->run(); });
  }

 private:
  std::unique_ptr<Recording> recording_;
  Watch& watch_;
};

}  // namespace

WatchedDevice::WatchedDevice(std::unique_ptr<Device> device, Observers observers)
    : device_(std::move(device)), watch_(*device_, std::move(observers)) {}

void WatchedDevice::reserve(const MemoryPlan& plan) {
  watch_.load_begins();
  device_->reserve(plan);
}

void WatchedDevice::finish() {
  device_->finish();
  watch_.load_ends();
}

void WatchedDevice::download(void* to, const void* from, uint64_t bytes) {
  device_->download(to, from, bytes);
  watch_.host_waits();
}

void WatchedDevice::synchronize() {
  device_->synchronize();
  watch_.host_waits();
}

int32_t WatchedDevice::take_drawn() {
  const int32_t token = device_->take_drawn();
  watch_.host_waits();
  return token;
}

std::unique_ptr<Recording> WatchedDevice::record(std::function<void()> steps) {
  return std::make_unique<WatchedRecording>(device_->record(std::move(steps)), watch_);
}

void WatchedDevice::embed(const Matrix& table, const Batch& batch) {
  watch_.step({.kind = StepKind::kEmbed, .batch = &batch}, [&] { device_->embed(table, batch); });
}

void WatchedDevice::qkv(const LayerWeights& w, const Batch& batch, const Activations& a,
                        const KvRows& kv) {
  const Step step{
      .kind = StepKind::kQkv, .weights = &w, .batch = &batch, .activations = &a, .kv = &kv};
  watch_.step(step, [&] { device_->qkv(w, batch, a, kv); });
}

void WatchedDevice::attention(const Batch& batch, const Activations& a, const KvRows& kv) {
  watch_.step({.kind = StepKind::kAttention, .batch = &batch, .activations = &a, .kv = &kv},
              [&] { device_->attention(batch, a, kv); });
}

void WatchedDevice::attention_output(const LayerWeights& w, const Batch& batch,
                                     const Activations& a) {
  const Step step{
      .kind = StepKind::kAttentionOutput, .weights = &w, .batch = &batch, .activations = &a};
  watch_.step(step, [&] { device_->attention_output(w, batch, a); });
}

void WatchedDevice::gate_up(const LayerWeights& w, const Batch& batch, const Activations& a) {
  watch_.step({.kind = StepKind::kGateUp, .weights = &w, .batch = &batch, .activations = &a},
              [&] { device_->gate_up(w, batch, a); });
}

void WatchedDevice::down(const LayerWeights& w, const Batch& batch, const Activations& a) {
  watch_.step({.kind = StepKind::kDown, .weights = &w, .batch = &batch, .activations = &a},
              [&] { device_->down(w, batch, a); });
}

void WatchedDevice::logits(const ModelWeights& w, const Batch& batch, const Activations& a,
                           float* logits) {
  const Step step{.kind = StepKind::kLogits, .batch = &batch, .activations = &a, .logits = logits};
  watch_.step(step, [&] { device_->logits(w, batch, a, logits); });
}

void WatchedDevice::sample(const float* logits, int32_t n_ids, const SamplerOptions& options,
                           const StepState& state) {
  watch_.step({.kind = StepKind::kSample, .logits = logits},
              [&] { device_->sample(logits, n_ids, options, state); });
}

void WatchedDevice::advance(const StepState& state) {
  watch_.step({.kind = StepKind::kAdvance}, [&] { device_->advance(state); });
}

void WatchedDevice::rotate_rows(const KvRows& kv) {
  watch_.step({.kind = StepKind::kRotateRows, .kv = &kv}, [&] { device_->rotate_rows(kv); });
}

Unwatched::~Unwatched() {
  if (device_ == nullptr) return;
  try {
    device_->watch().listen(true);
  } catch (const std::exception&) {
    // The device is gone, which the next step says.
  }
}

}  // namespace winnow
