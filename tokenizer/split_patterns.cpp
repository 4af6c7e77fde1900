#include "tokenizer/split_patterns.h"

#include <algorithm>
#include <array>

namespace winnow {
namespace {

// Unicode's White_Space, as what stands between brackets.
constexpr std::string_view kSpaces =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Llama-3's pattern with other counts of digits.
bool is_like_llama3(std::string_view pattern) {
  constexpr std::string_view kCount = R"(\p{N}{1,3})";
  constexpr size_t kAt = kLlama3Pattern.find(
                             "|"
                             R"(\p{N}{1,3})") +
                         1;
  constexpr std::string_view kHead = kLlama3Pattern.substr(0, kAt);
  constexpr std::string_view kTail = kLlama3Pattern.substr(kAt + kCount.size());
  if (!pattern.starts_with(kHead) || !pattern.ends_with(kTail)) return false;
  if (pattern.size() < kHead.size() + kTail.size()) return false;
  pattern.remove_prefix(kHead.size());
  pattern.remove_suffix(kTail.size());
  constexpr std::array<std::string_view, 4> kCounts = {R"(\p{N})", R"(\p{N}{1,2})", kCount,
                                                       R"(\p{N}+)"};
  return std::ranges::count(kCounts, pattern) > 0;
}

bool is_known(std::string_view pattern) {
  constexpr std::array kKnown = {kGpt2Pattern, kTekkenPattern, kDigitPattern, kDigitsPattern};
  return std::ranges::count(kKnown, pattern) > 0 || is_like_llama3(pattern);
}

}  // namespace

std::optional<std::string> pcre2_split_pattern(std::string_view pattern) {
  if (!is_known(pattern)) return std::nullopt;
  std::string out;
  bool in_brackets = false;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const std::string_view two = pattern.substr(at, 2);
    if (two == R"(\s)" && in_brackets) {
      out.append(kSpaces);
    } else if (two == R"(\s)") {
      out.append("[").append(kSpaces).append("]");
    } else if (two == R"(\S)") {
      out.append("[^").append(kSpaces).append("]");
    } else {
      if (two[0] == '[') in_brackets = true;
      if (two[0] == ']') in_brackets = false;
      out.append(two.substr(0, two[0] == '\\' ? 2 : 1));
    }
    if (two[0] == '\\') ++at;
  }
  return out;
}

}  // namespace winnow
