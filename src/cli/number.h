// Numbers out of text that a user typed: all of the text or nothing, and the same in every locale.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

/// The numbers that an option takes.
template <class T>
struct Range {
  T min;
  T max;
  bool without_min = false;  // the range is open below: min itself is out

  bool contains(T value) const {
    return (without_min ? value > min : value >= min) && value <= max;
  }
};

/// All of `text` as one decimal number; T is int32_t, int64_t, uint64_t, float or double. No sign
/// but '-', no spaces, no hexadecimal, no "inf" or "nan"; nothing for what T cannot hold.
template <class T>
std::optional<T> parse_number(std::string_view text);

/// The numbers of "1,2,3"; nothing where one of them is none or out of `range`. Never empty.
template <class T>
std::optional<std::vector<T>> parse_number_list(std::string_view text, Range<T> range);

/// What a number of `range` is, for messages: "a whole number from 0 to 7", "a number over 0".
template <class T>
std::string describe(Range<T> range);

}  // namespace winnow
