// The byte alphabet of byte-level BPE: its files spell each byte of a piece as a character that can
// be seen, and that is no space.
//
//   bytes '!'..'~', A1..AC, AE..FF   the character of the same number
//   the other 68, in their order     U+0100, U+0101, .. U+0143
//
//   " the\n"   is spelled   "ĠtheĊ"
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace winnow {

/// `bytes` in the alphabet.
std::string byte_level_text(std::string_view bytes);

/// The bytes that `text` spells; nothing where a character of it is not in the alphabet.
std::optional<std::string> byte_level_bytes(std::string_view text);

}  // namespace winnow
