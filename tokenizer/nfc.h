// Unicode's normalization form C: what can be written as one character or as a letter and its marks
// becomes one spelling, the short one.
//
//   "e" U+0301   becomes   "é" U+00E9
#pragma once

#include <string>
#include <string_view>

namespace winnow {

/// `text`, which is valid UTF-8, in form C. Time is linear in it, up to a logarithm, whatever it
/// holds: also a letter with a million marks.
std::string to_nfc(std::string_view text);

}  // namespace winnow
