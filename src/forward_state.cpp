// A sequence that stops here and goes on elsewhere: Sequence::state and Sequence::restore.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/forward.h"

namespace winnow {

SequenceState Sequence::state() const {
  WINNOW_CHECK(!cache_.empty() && queued_ == 0, "nothing was read yet, or steps are still queued");
  SequenceState state;
  state.next_position = cache_.next_position();
  state.steps_since_selection = steps_since_selection_;
  state.rows_to_selection = rows_to_selection_;
  state.rows_shared = rows_shared_;
  state.meter = meter_.sums();
  device_.download(&state.next_token, state_.token, sizeof(int32_t));
  device_.download(&state.n_sampled, state_.n_sampled, sizeof(int32_t));
  state.seen.resize(static_cast<size_t>(network_.config.vocab_size));
  device_.download(state.seen.data(), state_.seen, state.seen.size());
  state.logits.resize(static_cast<size_t>(network_.config.vocab_size));
  download_logits(state.logits);
  const auto rows = static_cast<size_t>(cache_.rows_held());
  state.position.resize(rows);
  state.mask.resize(rows);
  size_t done = 0;
  for (int64_t l = 0; l < network_.config.n_layers; ++l) {
    for (int64_t h = 0; h < network_.config.n_kv_heads; ++h) {
      HeadRows head = cache_.head(l, h);
      const auto n = static_cast<size_t>(head.rows);
      const KvStore::HeadMemory memory = cache_.store().head_memory(l, h);
      device_.download(&state.position[done], memory.position, n * sizeof(int32_t));
      device_.download(&state.mask[done], memory.mask, n * sizeof(uint32_t));
      head.room = 0;
      state.heads.push_back(head);
      done += n;
    }
  }
  return state;
}

/// The room that the head would have in a sequence of this capacity: see Sequence::open_pass.
HeadRows Sequence::restored_head(const HeadRows& head, const SequenceState& state) const {
  const int64_t to_come = options_.capacity - state.next_position;
  const int64_t growth =
      options_.kv.recompact > 0 ? std::min(state.rows_to_selection, to_come) : to_come;
  HeadRows restored = head;
  restored.room = head.rows + (head.ring_rows > 0 ? 0 : static_cast<int32_t>(growth));
  return restored;
}

void Sequence::restore(const SequenceState& state, const RowReader& read_rows) {
  WINNOW_CHECK(cache_.empty(), "a sequence that has read a text cannot become another");
  if (state.next_position > options_.capacity) {
    fail(ExitCode::kPrompt, "the text does not fit: ", state.next_position,
         " tokens, and room for ", options_.capacity);
  }
  const auto n_heads = static_cast<size_t>(network_.config.n_kv_heads);
  std::unique_ptr<KvStore> store = cache_.new_store();
  size_t done = 0;
  for (int64_t l = 0; l < network_.config.n_layers; ++l) {
    std::vector<HeadRows> heads;
    for (size_t h = 0; h < n_heads; ++h) {
      heads.push_back(restored_head(state.heads[static_cast<size_t>(l) * n_heads + h], state));
    }
    store->add_layer(heads);
    for (size_t h = 0; h < n_heads; ++h) {
      const auto n = static_cast<size_t>(heads[h].rows);
      const KvStore::HeadMemory memory = store->head_memory(l, static_cast<int64_t>(h));
      device_.upload(memory.position, &state.position[done], n * sizeof(int32_t));
      device_.upload(memory.mask, &state.mask[done], n * sizeof(uint32_t));
      done += n;
    }
  }
  for (int64_t l = 0; l < network_.config.n_layers; ++l) {
    for (int64_t h = 0; h < network_.config.n_kv_heads; ++h) {
      read_rows(l, h, store->head_memory(l, h));
    }
  }
  device_.finish();
  store->upload_counters();
  cache_.replace(std::move(store), state.next_position);
  device_.upload(state_.token, &state.next_token, sizeof(int32_t));
  device_.upload(state_.n_sampled, &state.n_sampled, sizeof(int32_t));
  device_.upload(logits_, state.logits.data(), state.logits.size() * sizeof(float));
  seen_ = state.seen;
  mark_seen({});
  meter_.resume(state.meter, cache_.rows_held());
  rows_shared_ = state.rows_shared;
  steps_since_selection_ = state.steps_since_selection;
  rows_to_selection_ = state.rows_to_selection;
  follow_cache();
}

}  // namespace winnow
