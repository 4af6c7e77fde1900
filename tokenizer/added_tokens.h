// Tokens that were added to a vocabulary from outside of its merges: control tokens such as
// <|eot_id|>, and pieces of text that are found before any merging, such as runs of spaces.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

struct AddedToken {
  std::string content;  // what it looks like in a text; never empty
  int32_t id = 0;
  bool special = false;      // a control token
  bool single_word = false;  // found only where no letter, mark, digit or "_" is beside it
  bool lstrip = false;       // takes the white space left of it along
  bool rstrip = false;       // and that right of it
  bool normalized = false;   // looked for after normalization instead of before
};

/// Finds added tokens in texts, by the rules of Hugging Face's tokenizers: from the left, the
/// longest where several begin, none inside another.
class AddedTokenFinder {
 public:
  /// Contents differ from each other.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  /// Gets a part of the text between tokens, or the id of a token, with an empty part.
  using Part = std::function<void(std::string_view text, const AddedToken* token)>;

  /// Calls `part` for all parts of `text` in their order, of which none is empty text. A control
  /// token's look is text like any other, but no other token is found in it. Where a token stands
  /// in the white space that one before it took along, it is found all the same, and text goes on
  /// behind it. Time is linear in `text`, times the longest content at worst.
  void split(std::string_view text, const Part& part) const;

 private:
  const AddedToken* longest_at_front(std::string_view text) const;

  std::vector<AddedToken> tokens_;     // sorted by content
  std::array<bool, 256> starts_ = {};  // for each byte, whether a content begins with it
};

}  // namespace winnow
