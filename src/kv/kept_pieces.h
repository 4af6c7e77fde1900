// The text of tokens in a form that can be shown beside what became of each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

/// Text of the tokens [first, first + n). More than one only where a character's bytes are spread
/// over them:
///
///   tokens   "a\xE2"  "\x80"  "\x99s"          the character U+2019 is E2 80 99
///   pieces   "a’"     of 2    "s"
struct KeptPiece {
  int64_t first = 0;
  int64_t n = 1;
  std::string text;  // see visible_text
};

/// Cuts the tokens' bytes into pieces, every character whole and with the token that it starts in.
/// A token without bytes is the piece "∅".
std::vector<KeptPiece> kept_pieces(std::span<const std::string> token_text);

/// `bytes` as valid UTF-8 that does nothing to a terminal or a page but to appear there:
///
///   line break                             ↵ and then the line break, which is the only control
///   left tab                                    ⇥ other control bytes, invalid bytes     \xNN
///   controls over U+007F, separators of    \xNN or \uNNNN
///   lines, marks that turn the direction
///   of writing or are not seen at all
std::string visible_text(std::string_view bytes);

/// The code point of the character at the front of `text`, which is valid UTF-8 and not empty.
char32_t front_character(std::string_view text);

/// Columns of a terminal that a character takes: 0 for marks on the one before, 2 for most of East
/// Asia and for emoji, else 1. Approximate: terminals differ, too.
int64_t cell_width(char32_t character);

}  // namespace winnow
