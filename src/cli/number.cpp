#include "src/cli/number.h"

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <sstream>

namespace winnow {

// std::from_chars knows no locale, skips no spaces and, for integers, takes no prefix. It does read
// "inf" and "nan", and stops at the first character that it cannot use.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  if constexpr (std::floating_point<T>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

template <class T>
std::optional<std::vector<T>> parse_number_list(std::string_view text, Range<T> range) {
  std::vector<T> numbers;
  while (true) {
    const size_t comma = text.find(',');
    const std::optional<T> number = parse_number<T>(text.substr(0, comma));
    if (!number || !range.contains(*number)) return std::nullopt;
    numbers.push_back(*number);
    if (comma == std::string_view::npos) return numbers;
    text.remove_prefix(comma + 1);
  }
}

template <class T>
std::string describe(Range<T> range) {
  std::ostringstream text;
  text << (std::integral<T> ? "a whole number " : "a number ");
  text << (range.without_min ? "over " : "from ") << range.min;
  if (std::floating_point<T> && range.max == std::numeric_limits<T>::max()) return text.str();
  text << (range.without_min ? ", at most " : " to ") << range.max;
  return text.str();
}

template std::optional<int32_t> parse_number(std::string_view);
template std::optional<int64_t> parse_number(std::string_view);
template std::optional<uint64_t> parse_number(std::string_view);
template std::optional<float> parse_number(std::string_view);
template std::optional<double> parse_number(std::string_view);

template std::optional<std::vector<int32_t>> parse_number_list(std::string_view, Range<int32_t>);
template std::optional<std::vector<int64_t>> parse_number_list(std::string_view, Range<int64_t>);

template std::string describe(Range<int32_t>);
template std::string describe(Range<int64_t>);
template std::string describe(Range<uint64_t>);
template std::string describe(Range<float>);

}  // namespace winnow
