// UTF-8 that arrives in pieces, and UTF-8 that is not.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace winnow {

/// Length in bytes of the valid character at the front of `text`: 1..4, or 0 where the bytes there
/// are no character (overlong, surrogate, over U+10FFFF, stray, or cut off).
size_t utf8_length(std::string_view text);

/// Byte offset of the first invalid byte, or npos.
size_t utf8_find_invalid(std::string_view text);

/// `text` with every invalid byte sequence replaced by U+FFFD, one for each maximal part of a
/// character (Unicode 3.9, table 3-8).
std::string utf8_replace_invalid(std::string_view text);

/// Turns a stream of byte pieces, cut anywhere, into a stream of whole characters.
class Utf8Stream {
 public:
  /// The characters that are complete now. At most 3 bytes are held back; what can no longer become
  /// a character comes out as U+FFFD.
  std::string push(std::string_view bytes);

  /// What was held back, as U+FFFD; empty where nothing was. The stream is as new afterwards.
  std::string finish();

 private:
  std::string pending_;
};

}  // namespace winnow
