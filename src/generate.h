// The loop that makes text: read the prompt, then draw, show and feed back one token after another.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "src/forward.h"
#include "src/sampler.h"
#include "tokenizer/tokenizer.h"

namespace winnow {

enum class StopReason { kEos, kLength, kStop, kInterrupt };

/// "eos", "length", "stop", "interrupt".
const char* stop_reason_name(StopReason reason);

struct GenerateRequest {
  std::vector<int32_t> before;  // tokens that the sequence holds already; for those who ask
  std::vector<int32_t> prompt;  // empty: the sequence has read its prompts, and nothing is read
  std::vector<int32_t> then;  // a second prompt, read over what was kept of the first; may be empty
  int64_t max_tokens = 0;     // the sequence has room for them
  SamplerOptions sampler;
  std::vector<int32_t> stop_ids;  // tokens that end the text and are no part of it
  std::vector<std::string> stop_strings;
  int32_t logprobs = -1;     // alternatives recorded for each token; -1: none are
  bool text_before = false;  // text stands before the first token: its leading space is real
};

/// A token that was drawn.
struct GeneratedToken {
  int32_t id = 0;
  std::string text;                    // what became certain with it; may be empty
  std::vector<TokenLogprob> logprobs;  // itself, then the alternatives
};

struct Generation {
  std::vector<int32_t> tokens;  // without the stop token
  std::string text;
  StopReason stop_reason = StopReason::kLength;
  int64_t decode_passes = 0;
  int64_t rows_kept = 0;    // K/V rows over all layers and heads, right after the prompts
  int64_t rows_shared = 0;  // see Sequence::rows_shared
  uint64_t bytes_kept = 0;  // of the rows kept
  double prefill_ms = 0;
  double decode_ms = 0;
  std::string logits_hash;  // of the last prompt position and of the last step
};

/// What happens while it runs.
struct GenerateHooks {
  std::function<void(uint64_t done, uint64_t total)> prefill_progress;
  std::function<void(const LayerRows& layer)> layer_rows;  // see PrefillHooks
  std::function<void()> prompt_read;                       // the sequence holds what was kept
  std::function<void(const GeneratedToken& token)> token;  // each, as soon as it is drawn
  std::function<void(const std::string& text)> rest;       // text that was held back, at the end
};

/// Runs `request` on an empty `sequence`, or on one that has read its prompts. A signal ends it
/// early, with what was made so far. Fails with kInternal where logits are not finite.
Generation generate(Sequence& sequence, const Tokenizer& tokenizer, const GenerateRequest& request,
                    const GenerateHooks& hooks);

}  // namespace winnow
