// Tokens drawn one after another, with the host reading behind the device.
//
//   device   | draw 0 | step 1 | step 2 | step 3 |           step i: token i - 1 through the
//   host              | queue 2 | token 0 | queue 3 | token 1 |        network, then draw i
//
// The device never waits for the host. A step that was queued behind a stop token does nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/forward.h"
#include "src/sampler.h"

namespace winnow {

class TokenQueue {
 public:
  /// For a sequence that has read its prompt. `ahead`: steps that may be queued behind one whose
  /// token was not taken; 0 where every token is looked at before the next step.
  TokenQueue(Sequence& sequence, int32_t n_ids, const SamplerOptions& options,
             std::span<const int32_t> stop_ids, int64_t ahead);

  /// Takes what is still queued, so that the sequence can go on from there.
  ~TokenQueue();
  TokenQueue(const TokenQueue&) = delete;
  TokenQueue& operator=(const TokenQueue&) = delete;

  /// The next token of at most `most` in all: no step is queued beyond them. Fails like
  /// Sequence::take_drawn and queue_step.
  int32_t next(int64_t most);

  /// Whether no token is on its way.
  bool drained() const { return stopped_ || taken_ == queued_; }

  /// Steps whose token was taken.
  int64_t steps() const { return taken_ > 0 ? taken_ - 1 : 0; }

 private:
  Sequence& sequence_;
  int32_t n_ids_;
  SamplerOptions options_;
  std::vector<int32_t> stop_ids_;
  int64_t ahead_;
  int64_t queued_ = 0;  // tokens
  int64_t taken_ = 0;
  bool stopped_ = false;  // what is queued does nothing
};

}  // namespace winnow
