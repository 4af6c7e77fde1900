#include "src/generate.h"

#include <algorithm>
#include <chrono>

#include "src/base/error.h"
#include "src/cli/interrupt.h"
#include "src/logits_hash.h"
#include "src/text_stream.h"
#include "src/token_queue.h"

namespace winnow {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// One run: the state of the loop.
class Run {
 public:
  Run(Sequence& sequence, const Tokenizer& tokenizer, const GenerateRequest& request,
      const GenerateHooks& hooks)
      : sequence_(sequence),
        tokenizer_(tokenizer),
        request_(request),
        hooks_(hooks),
        stream_(request.stop_strings) {}

  Generation operator()() {
    if (read_prompt()) write_text();
    const std::string rest = stream_.finish();
    result_.text += rest;
    if (hooks_.rest && !rest.empty()) hooks_.rest(rest);
    result_.logits_hash = hash_.text();
    return std::move(result_);
  }

 private:
  /// False where a signal stopped it.
  bool read_prompt() {
    const Clock::time_point start = Clock::now();
    PrefillHooks prefill_hooks;
    prefill_hooks.progress = [&](uint64_t done, uint64_t total) {
      check_interrupt();
      if (hooks_.prefill_progress) hooks_.prefill_progress(done, total);
    };
    prefill_hooks.layer_rows = hooks_.layer_rows;
    try {
      if (!request_.prompt.empty()) sequence_.prefill(request_.prompt, prefill_hooks);
      if (!request_.then.empty()) sequence_.prefill(request_.then, prefill_hooks);
      sequence_.wait();
    } catch (const Error& error) {
      if (interrupt_signal() == 0) throw;
      result_.stop_reason = StopReason::kInterrupt;
    }
    result_.prefill_ms = ms_since(start);
    result_.rows_kept = sequence_.cache().rows_held();
    result_.rows_shared = sequence_.rows_shared();
    result_.bytes_kept = sequence_.cache().bytes_held();
    if (result_.stop_reason == StopReason::kInterrupt) return false;
    if (hooks_.prompt_read) hooks_.prompt_read();
    hash_.add(host_logits());
    return true;
  }

  void write_text() {
    const Clock::time_point start = Clock::now();
    {
      TokenQueue queue(sequence_, tokenizer_.vocab_size(), request_.sampler, request_.stop_ids,
                       steps_ahead());
      while (write_token(queue)) continue;
      result_.decode_passes = queue.steps();
    }
    result_.decode_ms = ms_since(start);
    hash_.add(host_logits());
  }

  /// Where the text may end at any token, or the logits of each are asked for, none is drawn before
  /// the one before it was looked at.
  int64_t steps_ahead() const {
    const bool looks_at_each = !request_.stop_strings.empty() || request_.logprobs >= 0;
    return looks_at_each ? 0 : sequence_.steps_ahead();
  }

  /// Draws a token and shows it. False where the text ends.
  bool write_token(TokenQueue& queue) {
    const bool interrupted = interrupt_signal() != 0;
    if (interrupted && queue.drained()) return stop(StopReason::kInterrupt);
    if (n_tokens() == request_.max_tokens) return stop(StopReason::kLength);
    const int32_t id = next_id(queue, interrupted ? 0 : request_.max_tokens);
    if (std::ranges::count(request_.stop_ids, id) > 0) return stop(StopReason::kEos);
    GeneratedToken token{.id = id, .text = {}, .logprobs = {}};
    if (request_.logprobs >= 0) {
      token.logprobs = top_logprobs(host_logits(), id, request_.logprobs);
    }
    const bool at_start = result_.tokens.empty() && !request_.text_before;
    token.text = stream_.push(tokenizer_.decode_piece(id, at_start));
    result_.tokens.push_back(id);
    result_.text += token.text;
    if (hooks_.token) hooks_.token(token);
    if (stream_.stopped()) return stop(StopReason::kStop);
    if (n_tokens() == request_.max_tokens) return stop(StopReason::kLength);
    return true;
  }

  int32_t next_id(TokenQueue& queue, int64_t most) {
    try {
      return queue.next(most);
    } catch (const Error& error) {
      fail(error.code(), error.what(), ", at generated token ", n_tokens() + 1);
    }
  }

  bool stop(StopReason reason) {
    result_.stop_reason = reason;
    return false;
  }

  int64_t n_tokens() const { return static_cast<int64_t>(result_.tokens.size()); }

  /// The logits of the tokenizer's ids, copied to the host.
  std::span<const float> host_logits() {
    logits_.resize(static_cast<size_t>(tokenizer_.vocab_size()));
    sequence_.download_logits(logits_);
    return logits_;
  }

  Sequence& sequence_;
  const Tokenizer& tokenizer_;
  const GenerateRequest& request_;
  const GenerateHooks& hooks_;
  TextStream stream_;
  LogitsHash hash_;
  Generation result_;
  std::vector<float> logits_;
};

}  // namespace

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEos: return "eos";
    case StopReason::kLength: return "length";
    case StopReason::kStop: return "stop";
    case StopReason::kInterrupt: return "interrupt";
  }
  return "?";
}

Generation generate(Sequence& sequence, const Tokenizer& tokenizer, const GenerateRequest& request,
                    const GenerateHooks& hooks) {
  return Run(sequence, tokenizer, request, hooks)();
}

}  // namespace winnow
