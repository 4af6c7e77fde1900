#include "src/forward.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/prompt_statistics.h"
#include "src/query_window.h"
#include "src/scratch_scope.h"

namespace winnow {
namespace {

uint64_t activation_bytes(const ModelConfig& config, const Device& device, int64_t rows) {
  const auto elements = static_cast<uint64_t>(rows) *
                        static_cast<uint64_t>(2 * config.q_size() + config.intermediate_size);
  const auto sums = static_cast<uint64_t>(rows * config.n_heads) * sizeof(float);  // lse
  return elements * dtype_size(device.compute_type()) + sums + device.workspace_bytes(rows);
}

}  // namespace

uint64_t Sequence::scratch_bytes(const ModelConfig& config, const Device& device, int64_t n_tokens,
                                 int64_t prefill_rows) {
  constexpr uint64_t kAllocations = 32;  // an upper bound, for their alignment
  if (prefill_rows == 0) prefill_rows = device.default_prefill_rows();
  const int64_t chunk = std::min(prefill_rows, n_tokens);
  const auto row = static_cast<uint64_t>(config.hidden_size) * sizeof(float) + 2 * sizeof(int32_t);
  const uint64_t queries =
      static_cast<uint64_t>(kMaxQueries * config.q_size()) * dtype_size(device.compute_type());
  return queries + PromptStatistics::scratch_bytes(config) +
         static_cast<uint64_t>(n_tokens + 1) * row + activation_bytes(config, device, chunk) +
         activation_bytes(config, device, 1) + static_cast<uint64_t>(config.vocab_size) * 5 +
         kAllocations * Region::kAlignment;
}

Sequence::Sequence(const Network& network, int64_t capacity, int64_t prefill_rows)
    : Sequence(network, SequenceOptions{capacity, prefill_rows, {}}) {}

Sequence::Sequence(const Network& network, const SequenceOptions& options)
    : network_(network),
      device_(network.device),
      scratch_(device_.scratch_region()),
      mark_(scratch_.mark()),
      options_(options),
      cache_(network.config, device_, options.kv.extras()),
      meter_(network.config),
      seen_(static_cast<size_t>(network.config.vocab_size)) {
  if (options_.prefill_rows == 0) options_.prefill_rows = device_.default_prefill_rows();
  const ModelConfig& c = network_.config;
  state_.token = scratch_.allocate_array<int32_t>("next token", 1);
  state_.position = scratch_.allocate_array<int32_t>("next position", 1);
  state_.n_sampled = scratch_.allocate_array<int32_t>("tokens drawn", 1);
  state_.stopped = scratch_.allocate_array<int32_t>("stopped", 1);
  state_.stop_ids = scratch_.allocate_array<int32_t>("stop tokens", kMaxStopIds);
  state_.seen = scratch_.allocate_array<uint8_t>("tokens seen", c.vocab_size);
  const int32_t zero = 0;
  for (int32_t* counter : {state_.token, state_.position, state_.n_sampled, state_.stopped}) {
    device_.upload(counter, &zero, sizeof(zero));
  }
  set_stop_ids({});
  mark_seen({});
  step_ = {.n = 1,
           .token = state_.token,
           .position = state_.position,
           .x = scratch_.allocate_array<float>("step x", c.hidden_size),
           .stopped = state_.stopped};
  step_activations_ = make_activations(1, options_.kv.extras().scores);
  logits_ = scratch_.allocate_array<float>("logits", c.vocab_size);
}

Sequence::~Sequence() {
  scratch_.rewind(mark_);
}

Activations Sequence::make_activations(int64_t rows, bool with_lse) {
  const ModelConfig& c = network_.config;
  const uint64_t element = dtype_size(device_.compute_type());
  const auto bytes = [&](int64_t width) { return static_cast<uint64_t>(rows * width) * element; };
  Activations a;
  a.q = scratch_.allocate("q", bytes(c.q_size()));
  a.attention = scratch_.allocate("attention", bytes(c.q_size()));
  a.h = scratch_.allocate("h", bytes(c.intermediate_size));
  a.workspace = scratch_.allocate("workspace", device_.workspace_bytes(rows));
  if (with_lse) a.lse = scratch_.allocate_array<float>("log-sum-exps", rows * c.n_heads);
  return a;
}

/// One layer for the rows of `batch`: the Llama block, as the formula reads.
void Sequence::run_layer(int64_t l, const Batch& batch, const Activations& a, const KvRows& kv) {
  const LayerWeights& w = network_.weights.layers[static_cast<size_t>(l)];
  if (kv.places_in_cache() && kv.appended == 0) device_.rotate_rows(kv);
  device_.qkv(w, batch, a, kv);  // q, k, v = rope(rmsnorm(x) Wqkv^T); k, v join the cache
  // attention = softmax(q k^T / sqrt(d)) v
  device_.attention(batch, a, kv.pages.n_read > 0 ? choose_pages(batch, a, kv) : kv);
  if (kv.score != nullptr) device_.add_column_sums(batch, a, kv);
  device_.attention_output(w, batch, a);  // x += attention Wo^T
  device_.gate_up(w, batch, a);           // h = silu(rmsnorm(x) Wgate^T) * (rmsnorm(x) Wup^T)
  device_.down(w, batch, a);              // x += h Wdown^T
}

/// A text that cannot outgrow the window needs none: the fast kernels know none.
KvRows Sequence::windowed(KvRows kv) const {
  if (network_.config.window < options_.capacity) kv.window = network_.config.window;
  return kv;
}

void Sequence::check_room(int64_t n) const {
  WINNOW_CHECK(n > 0, "a prompt has at least one token");
  if (n <= options_.capacity - cache_.next_position()) return;
  fail(ExitCode::kPrompt, "the prompt does not fit: ", n, " tokens after ", cache_.next_position(),
       ", and room for ", options_.capacity);
}

void Sequence::prefill(std::span<const int32_t> tokens, const PrefillHooks& hooks) {
  const auto n = static_cast<int64_t>(tokens.size());
  check_room(n);
  if (cache_.empty() && options_.kv.reads_chunks(n)) return prefill_chunks(tokens, hooks);
  const ScratchScope scope(scratch_);
  // Where rows are selected anew on the way, a head may run out of room: that is when it happens.
  const int64_t steps = options_.kv.recompact > 0 ? 0 : steps_after(n);
  KvPass pass = open_pass(KvPass::kind_for(cache_, network_.config, options_.kv, n, steps), n);
  KvPass* const passes[] = {&pass};
  const Batch prompt = upload_batch(tokens);
  run_prompt(prompt, passes, hooks);
  take_logits(prompt);
  mark_seen(tokens);
  close_pass(pass);
}

void Sequence::prefill_together(std::span<Sequence* const> sequences,
                                std::span<const int32_t> tokens, const PrefillHooks& hooks) {
  Sequence& first = *sequences.front();
  const auto n = static_cast<int64_t>(tokens.size());
  const ScratchScope scope(first.scratch_);
  std::vector<std::unique_ptr<KvPass>> passes;
  std::vector<KvPass*> all;
  for (Sequence* sequence : sequences) {
    WINNOW_CHECK(&sequence->device_ == &first.device_ && sequence->cache_.empty(),
                 "not an empty sequence of the same network");
    WINNOW_CHECK(sequence->options_.kv.places_in_cache == first.options_.kv.places_in_cache,
                 "places are counted in the text or in the cache, for all alike");
    sequence->check_room(n);
    const auto kind = all.empty() ? KvPass::Kind::kWinnow : KvPass::Kind::kFollow;
    passes.emplace_back(new KvPass(sequence->open_pass(kind, n)));
    all.push_back(passes.back().get());
  }
  const Batch prompt = first.upload_batch(tokens);
  first.run_prompt(prompt, all, hooks);
  for (size_t i = 0; i < all.size(); ++i) {
    sequences[i]->take_logits(prompt);
    sequences[i]->mark_seen(tokens);
    sequences[i]->close_pass(*all[i]);
  }
}

/// Layer by layer over the whole prompt, in chunks of rows: chunk c of a layer needs the K/V rows
/// of chunks 0..c of that layer, and x of chunk c from the layer before. Once a layer is complete,
/// its last query says which of its rows are kept.
///
///            chunk 0   chunk 1   chunk 2
///   layer 0     1         2         3      select, compact
///   layer 1     4         5         6      select, compact
void Sequence::run_prompt(const Batch& prompt, std::span<KvPass* const> passes,
                          const PrefillHooks& hooks) {
  const ModelConfig& c = network_.config;
  const int64_t chunk = std::min(options_.prefill_rows, prompt.n);
  int64_t n_queries = 1;
  bool wants_statistics = false;
  bool sums_columns = false;
  for (const KvPass* pass : passes) {
    n_queries = std::max(n_queries, pass->needs().queries);
    wants_statistics = wants_statistics || pass->needs().query_statistics;
    sums_columns = sums_columns || pass->sums_columns();
  }
  if (sums_columns) passes.front()->make_scores();
  const Activations a = make_activations(chunk, sums_columns);
  QueryWindow queries(c, device_, std::min(n_queries, prompt.n));
  std::optional<PromptStatistics> statistics;
  if (wants_statistics) statistics.emplace(c, device_);
  uint64_t done = 0;
  const auto total = static_cast<uint64_t>(c.n_layers * prompt.n);
  device_.embed(network_.weights.embedding, prompt);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    KvRows kv = windowed(passes.front()->open_layer(l));
    if (statistics) statistics->begin_layer();
    for (int64_t first = 0; first < prompt.n; first += chunk) {
      const Batch rows = slice(prompt, first, std::min(chunk, prompt.n - first), c.hidden_size);
      kv.appended = first;
      run_layer(l, rows, a, kv);
      queries.take(a.q, first, rows.n, prompt.n);
      if (statistics) statistics->add(rows, a);
      if (l == c.n_layers - 1 && hooks.final_rows) hooks.final_rows(rows, a);
      done += static_cast<uint64_t>(rows.n);
      if (hooks.progress) hooks.progress(done, total);
    }
    LayerRows layer = passes.front()->rows_of(l, kv);
    layer.weights = &network_.weights.layers[static_cast<size_t>(l)];
    queries.show(layer);
    if (statistics) statistics->show(layer, prompt.length - prompt.n, prompt.n);
    if (hooks.layer_rows) hooks.layer_rows(layer);
    for (KvPass* pass : passes) pass->close_layer(layer);
  }
}

/// The logits of the last row of a prompt that went through all layers.
void Sequence::take_logits(const Batch& prompt) {
  const Batch last = slice(prompt, prompt.n - 1, 1, network_.config.hidden_size);
  device_.logits(network_.weights, last, step_activations_, logits_);
}

/// Decode steps that may follow a prefill of `n` tokens.
int64_t Sequence::steps_after(int64_t n) const {
  const int64_t to_come = options_.capacity - cache_.next_position() - n;
  return options_.turn_tokens > 0 ? std::min(to_come, options_.turn_tokens) : to_come;
}

/// What heads must have room for after the pass: all rows to come where they are appended, or as
/// many as come before the next selection.
KvPass Sequence::open_pass(KvPass::Kind kind, int64_t n) {
  const KvSettings& kv = options_.kv;
  const bool drops = kv.exceeds(KvPass::most_rows(cache_, network_.config) + n);
  int64_t growth = steps_after(n);
  if (kv.recompact > 0) {
    const int64_t to_budget = cache_.empty() && !drops ? kv.budget - n : 0;
    const bool joins = kind == KvPass::Kind::kInPlace && !cache_.empty();
    rows_to_selection_opened_ = joins ? rows_to_selection_ - n : to_budget + kv.recompact;
    growth = std::min(growth, to_budget + kv.recompact);
  } else if (kind == KvPass::Kind::kCopy ? cache_.is_ring() : kv.replaces_rows() && drops) {
    growth = 0;
  }
  return {kind, {network_.config, device_, kv, meter_}, cache_, n, growth};
}

/// The pass is complete: its rows count from now on, on the host and on the device.
void Sequence::close_pass(KvPass& pass) {
  meter_ = pass.finish();
  compact_ms_ += pass.compact_ms();
  if (pass.compact_ms() > 0) rows_shared_ = pass.rows_shared();
  steps_since_selection_ = 0;
  rows_to_selection_ = rows_to_selection_opened_;
  follow_cache();
}

/// Steps go on where the cache is now.
void Sequence::follow_cache() {
  decode_recording_.reset();
  step_recording_.reset();
  cache_.store().bind(state_);
  upload_position();
  summarize_pages();
}

void Sequence::upload_position() {
  const auto position = static_cast<int32_t>(cache_.next_position());
  device_.upload(state_.position, &position, sizeof(position));
}

void Sequence::adopt(std::unique_ptr<KvStore> store, int64_t n) {
  WINNOW_CHECK(cache_.empty() && store->n_layers() == network_.config.n_layers,
               "not the whole store of an empty sequence");
  cache_.replace(std::move(store), n);
  follow_cache();
}

void Sequence::take_back(int64_t n) {
  WINNOW_CHECK(queued_ == 0, "steps are still queued");
  cache_.take_back(n);
  upload_position();
  summarize_pages();
}

/// Decode steps find every page summarized, and add their own rows.
void Sequence::summarize_pages() {
  for (int64_t l = 0; l < network_.config.n_layers; ++l) {
    const KvRows kv = cache_.layer(l);
    if (kv.pages.keys != nullptr) device_.summarize_pages(kv);
  }
}

/// The prompt's tokens and positions in device memory, and room for its residual stream.
Batch Sequence::upload_batch(std::span<const int32_t> tokens) {
  const auto n = static_cast<int64_t>(tokens.size());
  std::vector<int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(cache_.next_position()));
  int32_t* token = scratch_.allocate_array<int32_t>("prompt tokens", n);
  int32_t* position = scratch_.allocate_array<int32_t>("prompt positions", n);
  float* x = scratch_.allocate_array<float>("prompt x", n * network_.config.hidden_size);
  device_.upload(token, tokens.data(), tokens.size_bytes());
  device_.upload(position, positions.data(), tokens.size_bytes());
  return {
      .n = n, .token = token, .position = position, .length = cache_.next_position() + n, .x = x};
}

void Sequence::download_logits(std::span<float> out) const {
  device_.download(out.data(), logits_, out.size_bytes());
}

void Sequence::mark_seen(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) seen_[static_cast<size_t>(token)] = 1;
  device_.upload(state_.seen, seen_.data(), seen_.size());
}

}  // namespace winnow
