// Sequence: one token after another.
#include <algorithm>
#include <array>

#include "src/base/error.h"
#include "src/forward.h"
#include "src/scratch_scope.h"

namespace winnow {

int32_t Sequence::sample(int32_t n_ids, const SamplerOptions& options) {
  draw(n_ids, options);
  return take_drawn();
}

void Sequence::draw(int32_t n_ids, const SamplerOptions& options) {
  device_.sample(logits_, n_ids, options, state_);
}

int32_t Sequence::take_drawn() {
  const int32_t token = device_.take_drawn();
  seen_[static_cast<size_t>(token)] = 1;
  return token;
}

void Sequence::set_next_token(int32_t token) {
  device_.upload(state_.token, &token, sizeof(token));
  mark_seen({&token, 1});
}

void Sequence::set_stop_ids(std::span<const int32_t> ids) {
  WINNOW_CHECK(std::ssize(ids) <= kMaxStopIds, ids.size(), " stop tokens");
  std::array<int32_t, kMaxStopIds> padded;
  padded.fill(-1);
  std::ranges::copy(ids, padded.begin());
  device_.upload(state_.stop_ids, padded.data(), sizeof(padded));
}

void Sequence::check_step(int64_t queued) const {
  WINNOW_CHECK(options_.turn_tokens == 0 || steps_since_selection_ + queued < options_.turn_tokens,
               "more steps after a prefill than there is room for");
  const int64_t position = cache_.next_position() + queued;
  if (position < options_.capacity) return;
  fail(ExitCode::kPrompt, "no room for token ", position, " in the KV cache");
}

void Sequence::decode() {
  check_step(0);
  if (reselects_now()) return step_and_reselect();
  if (!decode_recording_) decode_recording_ = device_.record([this] { run_step(); });
  decode_recording_->run();
  count_step();
}

void Sequence::queue_step(int32_t n_ids, const SamplerOptions& options) {
  check_step(queued_);
  ++queued_;
  if (options_.kv.recompact > 0) {
    WINNOW_CHECK(queued_ == 1, "a selection waits for the step before it");
    decode();
    return draw(n_ids, options);
  }
  if (!step_recording_ || drawing_ != Drawing{n_ids, options}) {
    drawing_ = {n_ids, options};
    step_recording_ = device_.record([this] {
      run_step();
      draw(drawing_.n_ids, drawing_.options);
    });
  }
  step_recording_->run();
}

int32_t Sequence::take_step() {
  WINNOW_CHECK(queued_ > 0, "no step is queued");
  const int32_t token = take_drawn();
  --queued_;
  if (options_.kv.recompact == 0) count_step();
  return token;
}

void Sequence::drop_queued() {
  device_.synchronize();
  const int32_t zero = 0;
  device_.upload(state_.stopped, &zero, sizeof(zero));
  queued_ = 0;
}

/// The host's side of a step that the device has done, or will before anything else.
void Sequence::count_step() {
  ++steps_since_selection_;
  if (options_.kv.recompact > 0) --rows_to_selection_;
  cache_.count_pass(1, meter_);
  meter_.close_pass(1, cache_.next_position());
  cache_.close_step();
}

/// The steps of decode(). All that changes from token to token lies in device memory.
void Sequence::run_step() {
  const int64_t n_kv_heads = network_.config.n_kv_heads;
  const int64_t recent = options_.kv.shares.recent;
  device_.embed(network_.weights.embedding, step_);
  for (int64_t l = 0; l < network_.config.n_layers; ++l) {
    const KvRows kv = step_rows(l);
    if (cache_.goes_by_score()) {
      device_.choose_slots(step_, kv, recent, state_.slot + l * n_kv_heads);
    }
    run_layer(l, step_, step_activations_, kv);
  }
  device_.logits(network_.weights, step_, step_activations_, logits_);
  device_.advance(state_);
}

/// The rows of a layer, of which a step's query heads may read some pages only.
KvRows Sequence::step_rows(int64_t l) const {
  KvRows kv = windowed(cache_.layer(l));
  if (kv.pages.keys != nullptr) kv.pages.n_read = options_.kv.paging.n_read;
  return kv;
}

/// The rows as a step's query heads see them, each of which picks its own pages.
KvRows Sequence::choose_pages(const Batch& batch, const Activations& a, const KvRows& kv) {
  const ModelConfig& c = network_.config;
  device_.join_page(batch, kv);
  device_.score_pages(a.q, kv);
  device_.top_k(page_zones(kv.pages, c.n_kv_heads), page_lists(kv.pages, c.n_heads));
  device_.mask_pages(kv);
  KvRows shown = kv;
  shown.mask = kv.pages.mask;
  return shown;
}

/// Whether it is time for a selection, and there is something to drop or no room to go on.
bool Sequence::reselects_now() const {
  const KvSettings& kv = options_.kv;
  if (kv.recompact == 0) return false;
  if (!cache_.has_room(1)) return true;
  return steps_since_selection_ >= kv.recompact - 1 &&
         KvPass::most_rows(cache_, network_.config) + 1 > kv.budget;
}

/// A step like a prefill of one row: in each layer all rows that are stored are candidates, and the
/// row's own query chooses (the refresh that arXiv 2503.08879 leaves open).
void Sequence::step_and_reselect() {
  const ScratchScope scope(scratch_);
  KvPass pass = open_pass(KvPass::Kind::kWinnow, 1);
  if (pass.sums_columns()) pass.make_scores();
  device_.embed(network_.weights.embedding, step_);
  for (int64_t l = 0; l < network_.config.n_layers; ++l) {
    const KvRows kv = windowed(pass.open_layer(l));
    run_layer(l, step_, step_activations_, kv);
    LayerRows layer = pass.rows_of(l, kv);
    layer.last_query = layer.queries = step_activations_.q;
    layer.n_queries = 1;
    layer.weights = &network_.weights.layers[static_cast<size_t>(l)];
    pass.close_layer(layer);
  }
  device_.logits(network_.weights, step_, step_activations_, logits_);
  close_pass(pass);
}

}  // namespace winnow
