#include "src/base/utf8.h"

#include <cstdint>

namespace winnow {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// What the first byte of a character says: its length, and the range of the second byte. Third and
/// fourth bytes are always 80..BF.
struct Lead {
  size_t length;  // 0: no character starts with this byte
  uint8_t second_min;
  uint8_t second_max;
};

// The well-formed sequences (Unicode 3.9, table 3-7). The narrow second bytes keep out overlong
// forms (E0, F0), surrogates (ED) and what lies over U+10FFFF (F4).
constexpr Lead lead_of(uint8_t byte) {
  if (byte <= 0x7F) return {1, 0, 0};
  if (byte <= 0xC1) return {0, 0, 0};
  if (byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// The longest start of `text` that is the start of a character, or all of one.
struct Prefix {
  size_t length;  // 0 where the first byte starts no character
  bool complete;
};

Prefix longest_prefix(std::string_view text) {
  if (text.empty()) return {0, false};
  const Lead lead = lead_of(static_cast<uint8_t>(text[0]));
  size_t length = lead.length == 0 ? 0 : 1;
  for (; length < lead.length && length < text.size(); ++length) {
    const auto byte = static_cast<uint8_t>(text[length]);
    const uint8_t min = length == 1 ? lead.second_min : 0x80;
    const uint8_t max = length == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) break;
  }
  return {length, length > 0 && length == lead.length};
}

/// Appends `text` to `out` with U+FFFD for what is no character. Returns how many bytes at the end
/// of `text` were left out because they may yet become one: the start of a character, cut off.
size_t append_characters(std::string_view text, std::string& out) {
  while (!text.empty()) {
    const Prefix prefix = longest_prefix(text);
    if (prefix.complete) {
      out.append(text.substr(0, prefix.length));
      text.remove_prefix(prefix.length);
      continue;
    }
    if (prefix.length == text.size()) break;
    out.append(kReplacement);
    text.remove_prefix(prefix.length == 0 ? 1 : prefix.length);
  }
  return text.size();
}

}  // namespace

size_t utf8_length(std::string_view text) {
  const Prefix prefix = longest_prefix(text);
  return prefix.complete ? prefix.length : 0;
}

size_t utf8_find_invalid(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string utf8_replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (append_characters(text, out) > 0) out.append(kReplacement);
  return out;
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_.append(bytes);
  std::string out;
  const size_t left = append_characters(pending_, out);
  pending_.erase(0, pending_.size() - left);
  return out;
}

std::string Utf8Stream::finish() {
  const bool cut_off = !pending_.empty();
  pending_.clear();
  return std::string(cut_off ? kReplacement : std::string_view());
}

}  // namespace winnow
