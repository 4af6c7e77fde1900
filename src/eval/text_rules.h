// The rules by which metrics take text apart; src/eval/metrics.h says what they are.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

using Words = std::vector<std::u32string>;

inline bool is_digit(char32_t c) {
  return c >= '0' && c <= '9';
}

/// The code points of `bytes`; invalid UTF-8 counts as U+FFFD.
std::u32string characters(std::string_view bytes);

/// The same in lower case.
std::u32string lower_characters(std::string_view bytes);

/// What stands between white space.
Words split_at_spaces(std::u32string_view text);

/// LongBench's normalize_answer, as the words that it joins with spaces.
Words normal_words(std::string_view bytes);

/// Calls use(piece) for every longest piece of `text` in which all characters pass `belongs`.
template <class Belongs, class Use>
void for_each_run(std::u32string_view text, Belongs belongs, Use use) {
  auto at = text.begin();
  while (true) {
    const auto begin = std::find_if(at, text.end(), belongs);
    if (begin == text.end()) return;
    at = std::find_if_not(begin, text.end(), belongs);
    use(text.substr(static_cast<size_t>(begin - text.begin()), static_cast<size_t>(at - begin)));
  }
}

}  // namespace winnow
