#include "tokenizer/tokenizer.h"

#include "src/base/error.h"

namespace winnow {

std::vector<int32_t> Tokenizer::stop_ids() const {
  const std::optional<int32_t> id = eos();
  return id ? std::vector<int32_t>{*id} : std::vector<int32_t>{};
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  bool at_start = true;
  for (const int32_t id : ids) {
    text += decode_piece(id, at_start);
    // A control token gives nothing anywhere; "▁" gives nothing only at the start, and ends it.
    at_start = at_start && decode_piece(id, false).empty();
  }
  return text;
}

void Tokenizer::check_length(std::string_view text) {
  constexpr size_t kMaxTextBytes = size_t{64} << 20;
  if (text.size() <= kMaxTextBytes) return;
  fail(ExitCode::kPrompt, "the text has ", text.size(), " bytes; at most ", kMaxTextBytes,
       " can be tokenized");
}

}  // namespace winnow
