// Texts for tokenizers: random Unicode, repeated text, the parts of a file of cases.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::test {

/// The parts of `text` that end with `separator`.
inline std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  for (size_t at = 0; (at = text.find(separator, start)) != std::string::npos;
       start = at + separator.size()) {
    parts.push_back(text.substr(start, at - start));
  }
  return parts;
}

inline void append_utf8(std::string& out, uint32_t code) {
  const auto tail = [code](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += {static_cast<char>(0xC0 | code >> 6), tail(0)};
  } else if (code < 0x10000) {
    out += {static_cast<char>(0xE0 | code >> 12), tail(6), tail(0)};
  } else {
    out += {static_cast<char>(0xF0 | code >> 18), tail(12), tail(6), tail(0)};
  }
}

/// Characters of all planes, NUL and unassigned ones among them, and many of ASCII.
inline std::string random_unicode(std::mt19937& random, size_t length) {
  std::string out;
  while (length > 0) {
    const auto kind = static_cast<uint32_t>(random() % 6);
    const uint32_t limit = kind == 0 ? 0x110000 : kind < 3 ? 0x3000 : 0x80;
    const auto code = static_cast<uint32_t>(random() % limit);
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    append_utf8(out, code);
    --length;
  }
  return out;
}

inline std::string repeated(std::string_view text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

}  // namespace winnow::test
