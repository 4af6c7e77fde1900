#include "src/chat/session.h"

#include <algorithm>
#include <utility>

#include "src/base/error.h"

namespace winnow {

ChatSession::ChatSession(const Network& network, const Tokenizer& tokenizer,
                         const FrameTokens& frame, ChatSettings settings)
    : network_(network), tokenizer_(tokenizer), frame_(frame), settings_(std::move(settings)) {
  const std::optional<int32_t> stop = frame_.stop_id();
  if (stop && std::ranges::count(settings_.stop_ids, *stop) == 0) {
    settings_.stop_ids.push_back(*stop);
  }
  reset();
}

void ChatSession::reset() {
  sequence_.reset();  // its memory is what the new one takes
  sequence_ = std::make_unique<Sequence>(network_, settings_.sequence);
  unread_.clear();
  turns_ = 0;
  prompt_tokens_ = 0;
  messages_.clear();
  const std::optional<std::string>& given =
      settings_.system ? settings_.system : frame_.frame().default_system;
  if (given) messages_.push_back({"system", *given});
}

/// The tokens from the last row in the cache to where the reply begins, and the room for it.
GenerateRequest ChatSession::make_request(const std::string& user) const {
  GenerateRequest request;
  request.prompt = unread_;
  const std::vector<int32_t> turn =
      turns_ == 0 ? frame_.first_turn(settings_.system, user) : frame_.later_turn(user);
  request.prompt.insert(request.prompt.end(), turn.begin(), turn.end());
  const int64_t held = sequence_->cache().next_position();
  const auto n = static_cast<int64_t>(request.prompt.size());
  const int64_t capacity = settings_.sequence.capacity;
  if (n > capacity - held) {
    fail(ExitCode::kPrompt, "the context is full: ", held, " of ", capacity,
         " tokens are taken, and this turn has ", n, "; /reset starts anew");
  }
  if (request.prompt.empty()) fail(ExitCode::kPrompt, "an empty turn, and no BOS to start from");
  // The last token that is drawn needs no row in the cache.
  const int64_t room = capacity - held - n + 1;
  request.max_tokens = settings_.max_tokens < 0 ? room : std::min(settings_.max_tokens, room);
  request.sampler = settings_.sampler;
  request.stop_ids = settings_.stop_ids;
  request.stop_strings = settings_.stop_strings;
  request.text_before = !frame_.frame().has_turns;  // the reply goes on from the text
  return request;
}

Generation ChatSession::say(const std::string& user, const GenerateHooks& hooks) {
  const GenerateRequest request = make_request(user);
  const int64_t held = sequence_->cache().next_position();
  Generation reply = generate(*sequence_, tokenizer_, request, hooks);
  if (sequence_->cache().next_position() == held) return reply;  // stopped before it was read
  prompt_tokens_ = static_cast<int64_t>(request.prompt.size());
  messages_.push_back({"user", user});
  messages_.push_back({"assistant", reply.text});
  ++turns_;
  take_reply(reply);
  return reply;
}

/// A token that ends the reply and was drawn is no part of it: the frame's end is read instead.
void ChatSession::take_reply(const Generation& reply) {
  unread_.assign(reply.tokens.begin() + reply.decode_passes, reply.tokens.end());
  const std::vector<int32_t> end = frame_.end_of_reply();
  unread_.insert(unread_.end(), end.begin(), end.end());
}

}  // namespace winnow
