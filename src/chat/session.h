// A conversation with a model: the user's turns go in, replies come out, and what was read and
// written stays in one KV cache.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/chat/frame.h"
#include "src/forward.h"
#include "src/generate.h"

namespace winnow {

/// A text of a conversation.
struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string text;
};

struct ChatSettings {
  std::optional<std::string> system = {};
  SequenceOptions sequence = {};  // its turn_tokens is what bounds a reply, where it is not 0
  int64_t max_tokens = 0;         // of a reply; under 0: until it ends or the context does
  SamplerOptions sampler = {};
  std::vector<int32_t> stop_ids = {};  // end a reply, beside the frame's own
  std::vector<std::string> stop_strings = {};
};

class ChatSession {
 public:
  /// `network`, `tokenizer` and `frame` must outlive it.
  ChatSession(const Network& network, const Tokenizer& tokenizer, const FrameTokens& frame,
              ChatSettings settings);

  /// One turn: reads `user`, and what is left to read of the turn before, over what the cache
  /// keeps; then writes the reply. A signal ends it with what was written so far: if that is still
  /// before the prompt was read, the turn has not been. The same holds where it fails with kPrompt,
  /// because the context has no room for it, with kMemory, or because a hook throws while the
  /// prompt is read.
  Generation say(const std::string& user, const GenerateHooks& hooks);

  /// An empty conversation with the same settings.
  void reset();

  /// All that was said, the system text first.
  const std::vector<ChatMessage>& messages() const { return messages_; }
  int64_t turns() const { return turns_; }

  const Sequence& sequence() const { return *sequence_; }
  const ChatSettings& settings() const { return settings_; }

  /// Tokens that the last turn had to read.
  int64_t prompt_tokens() const { return prompt_tokens_; }

 private:
  GenerateRequest make_request(const std::string& user) const;
  void take_reply(const Generation& reply);

  Network network_;
  const Tokenizer& tokenizer_;
  const FrameTokens& frame_;
  ChatSettings settings_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<ChatMessage> messages_;
  int64_t turns_ = 0;
  int64_t prompt_tokens_ = 0;

  /// Tokens that belong to the text but have no K/V rows yet: the last one that was drawn, and the
  /// end of the reply. They open the next prefill.
  std::vector<int32_t> unread_;
};

}  // namespace winnow
