// The forward pass: how tokens go through the network. Written once, for every device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "src/device.h"
#include "src/kv_cache.h"
#include "src/kv_meter.h"
#include "weights/config.h"
#include "weights/model.h"

namespace winnow {

/// A network that is loaded: its shape, its weights, and the device that holds them.
struct Network {
  const ModelConfig& config;
  const ModelWeights& weights;
  Device& device;
};

/// What may be watched, and stopped by an exception, while a prompt is read.
struct PrefillHooks {
  /// After every chunk of every layer: units of work done, of how many.
  std::function<void(uint64_t done, uint64_t total)> progress;
  /// After the last layer, chunk by chunk in the prompt's order: what Device::logits needs.
  std::function<void(const Batch& rows, const Activations& a)> final_rows;
};

/// One text that is read and written: its KV cache, and the memory that its tokens pass through.
class Sequence {
 public:
  /// Room for `capacity` tokens; prefill takes `prefill_rows` rows through a layer at once (0: the
  /// device's own number).
  Sequence(const Network& network, int64_t capacity, int64_t prefill_rows);
  ~Sequence();
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  /// Bytes of the scratch region that a sequence and a prefill of `n_tokens` need at most.
  static uint64_t scratch_bytes(const ModelConfig& config, const Device& device, int64_t n_tokens,
                                int64_t prefill_rows);

  /// Reads `tokens` [n >= 1] after what the cache holds and leaves the logits of the last one in
  /// logits(). If a hook or an allocation throws, the cache is as it was before. Fails with kPrompt
  /// where the cache has no room.
  void prefill(std::span<const int32_t> tokens, const PrefillHooks& hooks = {});

  /// Draws the next token from the first `n_ids` of logits().
  int32_t sample(int32_t n_ids, const SamplerOptions& options);

  /// Makes `token` the one that decode() reads next, as if it had been drawn.
  void set_next_token(int32_t token);

  /// Puts the drawn token through the network: its rows join the cache, its logits replace
  /// logits().
  void decode();

  /// Waits for the device; for timing.
  void wait() const { device_.synchronize(); }

  /// Copies the first `out.size()` logits to the host.
  void download_logits(std::span<float> out) const;

  const KvCache& cache() const { return cache_; }
  const KvMeter& meter() const { return meter_; }

 private:
  Batch upload_batch(std::span<const int32_t> tokens);
  Activations make_activations(int64_t rows);
  void run_layer(int64_t l, const Batch& batch, const Activations& a, const KvRows& kv);
  void run_prompt(const Batch& prompt, const PrefillHooks& hooks);
  void run_step();
  void mark_seen(std::span<const int32_t> tokens);
  void close_pass(int64_t n);

  Network network_;
  Device& device_;
  Region& scratch_;
  Region::Mark mark_;
  int64_t prefill_rows_;
  KvCache cache_;
  KvMeter meter_;
  StepState state_;
  Batch step_;                                 // the one row of decode
  Activations step_activations_;               // of one row
  float* logits_ = nullptr;                    // [vocab_size]
  std::vector<uint8_t> seen_;                  // [vocab_size] the host's copy of StepState::seen
  std::unique_ptr<Recording> step_recording_;  // run_step(), made at the first decode()
};

}  // namespace winnow
