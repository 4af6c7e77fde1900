#include "tokenizer/text_cuts.h"

#include <algorithm>

#include "src/base/utf8.h"

namespace winnow {
namespace {

/// A character of a text: its UTF-8 bytes as one number.
struct Character {
  uint32_t code = 0;
  size_t length = 0;
};

/// The character at the front of `text`, which is not empty. An invalid byte counts as one.
Character front(std::string_view text) {
  if (text[0] == ' ') return {front(kSpmSpace).code, 1};
  Character character;
  character.length = std::max<size_t>(1, utf8_length(text));
  for (const char byte : text.substr(0, character.length)) {
    character.code = character.code << 8 | static_cast<uint8_t>(byte);
  }
  return character;
}

uint64_t pair_of(uint32_t left, uint32_t right) {
  return uint64_t{left} << 32 | right;
}

bool is_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0) == 0x80;
}

}  // namespace

TextCuts::TextCuts(std::span<const SpmPiece> pieces) {
  for (const SpmPiece& piece : pieces) {
    std::string_view text = piece.text;
    Character left = front(text);
    for (text.remove_prefix(left.length); !text.empty(); text.remove_prefix(left.length)) {
      const Character right = front(text);
      pairs_.push_back(pair_of(left.code, right.code));
      left = right;
    }
  }
  std::sort(pairs_.begin(), pairs_.end());
  pairs_.erase(std::unique(pairs_.begin(), pairs_.end()), pairs_.end());
  pairs_.shrink_to_fit();
}

size_t TextCuts::next(std::string_view text, size_t from) const {
  // Start one character earlier: the one left of the first place.
  size_t at = from == 0 ? 0 : from - 1;
  while (at > 0 && at < text.size() && is_continuation(text[at])) --at;
  if (at >= text.size()) return text.size();

  Character left = front(text.substr(at));
  for (at += left.length; at < text.size(); at += left.length) {
    const Character right = front(text.substr(at));
    if (at >= from && !joined(left.code, right.code)) return at;
    left = right;
  }
  return text.size();
}

bool TextCuts::joined(uint32_t left, uint32_t right) const {
  return std::binary_search(pairs_.begin(), pairs_.end(), pair_of(left, right));
}

}  // namespace winnow
