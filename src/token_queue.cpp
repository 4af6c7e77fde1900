#include "src/token_queue.h"

#include <algorithm>

#include "src/base/error.h"

namespace winnow {

TokenQueue::TokenQueue(Sequence& sequence, int32_t n_ids, const SamplerOptions& options,
                       std::span<const int32_t> stop_ids, int64_t ahead)
    : sequence_(sequence),
      n_ids_(n_ids),
      options_(options),
      stop_ids_(stop_ids.begin(), stop_ids.end()),
      ahead_(ahead) {
  const bool fits = std::ssize(stop_ids) <= kMaxStopIds;
  if (!fits || sequence.kv_settings().recompact > 0) ahead_ = 0;
  ahead_ = std::min(ahead_, Device::kMaxDrawn - 1);
  sequence_.set_stop_ids(fits ? stop_ids : std::span<const int32_t>());
}

TokenQueue::~TokenQueue() {
  try {
    while (!drained()) next(0);
    sequence_.drop_queued();
  } catch (const Error&) {
    // The device is gone, or the logits are not finite: whoever goes on with the sequence hears it.
  }
}

int32_t TokenQueue::next(int64_t most) {
  for (const int64_t wanted = std::min(taken_ + 1 + ahead_, most); queued_ < wanted; ++queued_) {
    if (queued_ == 0) {
      sequence_.draw(n_ids_, options_);
    } else {
      sequence_.queue_step(n_ids_, options_);
    }
  }
  ++taken_;
  stopped_ = true;  // also where the draw fails
  const int32_t token = taken_ == 1 ? sequence_.take_drawn() : sequence_.take_step();
  stopped_ = std::ranges::count(stop_ids_, token) > 0;
  return token;
}

}  // namespace winnow
