// The forward pass: how tokens go through the network. Written once, for every device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "src/device.h"
#include "src/kv/cache.h"
#include "src/kv/chunks.h"
#include "src/kv/meter.h"
#include "src/kv/pass.h"
#include "src/kv/settings.h"
#include "src/sequence_state.h"
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
  /// After every layer: its rows, of which none was dropped yet.
  std::function<void(const LayerRows& layer)> layer_rows;
  /// After the last layer, chunk by chunk in the prompt's order: what Device::logits needs.
  std::function<void(const Batch& rows, const Activations& a)> final_rows;
};

/// What a sequence is made for.
struct SequenceOptions {
  int64_t capacity = 0;      // tokens of the text, read and written
  int64_t prefill_rows = 0;  // rows through a layer at once; 0: the device's own number
  KvSettings kv = {};        // which rows are kept
  int64_t turn_tokens = 0;   // decode steps from one prefill to the next at most; 0: the capacity
};

/// One text that is read and written: its KV cache, and the memory that its tokens pass through.
class Sequence {
 public:
  Sequence(const Network& network, const SequenceOptions& options);

  /// The same with every row kept.
  Sequence(const Network& network, int64_t capacity, int64_t prefill_rows);
  ~Sequence();
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  /// Bytes of the scratch region that a sequence and a prefill of `n_tokens` need at most, beside
  /// KvPass::scratch_bytes.
  static uint64_t scratch_bytes(const ModelConfig& config, const Device& device, int64_t n_tokens,
                                int64_t prefill_rows);

  /// Reads `tokens` [n >= 1] after what the cache holds, leaves the logits of the last one in
  /// logits(), and drops what the settings do not keep. If a hook or an allocation throws, the
  /// cache is as it was before. Fails with kPrompt where the text would outgrow its capacity.
  void prefill(std::span<const int32_t> tokens, const PrefillHooks& hooks = {});

  /// Reads one prompt into several empty sequences of the same network, each of which keeps what
  /// its settings say, as if it had read the prompt alone: the prompt goes through the network
  /// once. If anything throws, all are as they were. places_in_cache is the same for all.
  static void prefill_together(std::span<Sequence* const> sequences,
                               std::span<const int32_t> tokens, const PrefillHooks& hooks = {});

  /// Takes what somebody filled, a store of new_store() with all layers, as what is kept of a first
  /// prompt of `n` tokens. The next token is to be set; there are no logits yet.
  void adopt(std::unique_ptr<KvStore> store, int64_t n);
  std::unique_ptr<KvStore> new_store() const { return cache_.new_store(); }

  /// Forgets the last `n` tokens, whose rows were appended. The next token is to be set.
  void take_back(int64_t n);

  // Decoding (src/decode.cpp). Either one thing after the other, waiting for each token:
  //
  //   sample(), decode(), sample(), decode(), ...
  //
  // or with steps queued before the tokens that they read are known here (src/token_queue.h):
  //
  //   draw(), queue_step(), take_drawn(), queue_step(), take_step(), ...

  /// Draws the next token from the first `n_ids` of logits().
  int32_t sample(int32_t n_ids, const SamplerOptions& options);

  /// Makes `token` the one that decode() reads next, as if it had been drawn.
  void set_next_token(int32_t token);

  /// Puts the drawn token through the network: its rows join the cache or go over the oldest of a
  /// ring, its logits replace logits(). Every KvSettings::recompact steps the rows are selected
  /// anew.
  void decode();

  /// Tokens after which queued steps do nothing; at most kMaxStopIds.
  void set_stop_ids(std::span<const int32_t> ids);

  /// Queues sample(), whose token take_drawn() returns.
  void draw(int32_t n_ids, const SamplerOptions& options);
  int32_t take_drawn();

  /// Queues decode() and then draw(). It counts once take_step() has returned its token. Fails with
  /// kPrompt where the cache has no room for what is queued.
  void queue_step(int32_t n_ids, const SamplerOptions& options);
  int32_t take_step();

  /// What is still queued stands behind a stop token and has left nothing behind.
  void drop_queued();

  /// See Device::steps_ahead.
  int64_t steps_ahead() const { return device_.steps_ahead(); }

  // Stopping here and going on elsewhere (src/forward_state.cpp).

  /// What it is now, for restore(). The K/V rows are left where they are: cache().store().
  SequenceState state() const;

  /// Puts the rows of head h of layer l at `to`, as Device::read does.
  using RowReader = std::function<void(int64_t l, int64_t h, const KvStore::HeadMemory& to)>;

  /// Makes an empty sequence the one that `state` is of: what follows is the same to the bit as if
  /// that one had gone on with this one's capacity. The settings are the same for both. Fails like
  /// `read_rows`, with kMemory, and with kPrompt where the capacity is smaller than the text; it is
  /// empty then.
  void restore(const SequenceState& state, const RowReader& read_rows);

  /// Waits for the device; for timing.
  void wait() const { device_.synchronize(); }

  /// Copies the first `out.size()` logits to the host.
  void download_logits(std::span<float> out) const;

  const KvCache& cache() const { return cache_; }
  const KvMeter& meter() const { return meter_; }
  const KvSettings& kv_settings() const { return options_.kv; }

  /// Time that scoring, selecting and compacting took so far.
  double compact_ms() const { return compact_ms_; }

  /// What the last selection saved because lists share rows: see KvPass.
  int64_t rows_shared() const { return rows_shared_; }

  /// What the next decode step reads, in device memory; for tests.
  const StepState& step_state() const { return state_; }

 private:
  Batch upload_batch(std::span<const int32_t> tokens);
  Activations make_activations(int64_t rows, bool with_lse);
  void run_layer(int64_t l, const Batch& batch, const Activations& a, const KvRows& kv);
  KvRows windowed(KvRows kv) const;
  KvRows step_rows(int64_t l) const;
  KvRows choose_pages(const Batch& batch, const Activations& a, const KvRows& kv);
  void summarize_pages();
  void check_room(int64_t n) const;
  std::vector<int32_t> chunk_of(const PromptChunk& chunk, std::span<const int32_t> tokens) const;
  void prefill_chunks(std::span<const int32_t> tokens, const PrefillHooks& hooks);
  void read_chunk(const PromptChunk& chunk, std::span<const int32_t> tokens,
                  const PrefillHooks& hooks);
  void forget();
  void run_prompt(const Batch& prompt, std::span<KvPass* const> passes, const PrefillHooks& hooks);
  void take_logits(const Batch& prompt);
  void run_step();
  void check_step(int64_t queued) const;
  void count_step();
  void step_and_reselect();
  bool reselects_now() const;
  int64_t steps_after(int64_t n) const;
  KvPass open_pass(KvPass::Kind kind, int64_t n);
  void close_pass(KvPass& pass);
  void upload_position();
  void mark_seen(std::span<const int32_t> tokens);
  void follow_cache();
  HeadRows restored_head(const HeadRows& head, const SequenceState& state) const;

  Network network_;
  Device& device_;
  Region& scratch_;
  Region::Mark mark_;
  SequenceOptions options_;
  KvCache cache_;
  KvMeter meter_;
  double compact_ms_ = 0;
  int64_t rows_shared_ = 0;
  int64_t steps_since_selection_ = 0;
  int64_t rows_to_selection_ = 0;         // see SequenceState
  int64_t rows_to_selection_opened_ = 0;  // the same, once the pass that is open is closed
  StepState state_;
  Batch step_;                    // the one row of decode
  Activations step_activations_;  // of one row
  float* logits_ = nullptr;       // [vocab_size]
  std::vector<uint8_t> seen_;     // [vocab_size] the host's copy of StepState::seen

  /// What a recorded step draws with.
  struct Drawing {
    int32_t n_ids = 0;
    SamplerOptions options;
    bool operator==(const Drawing&) const = default;
  };

  // Over the store that the cache has now:
  std::unique_ptr<Recording> decode_recording_;  // run_step()
  std::unique_ptr<Recording> step_recording_;    // run_step() and a draw with drawing_
  Drawing drawing_;
  int64_t queued_ = 0;  // steps that were queued and not taken
};

}  // namespace winnow
