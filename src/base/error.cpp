#include "src/base/error.h"

#include <cstddef>

#include "src/base/utf8.h"

namespace winnow {
namespace {

constexpr size_t kMaxQuoted = 96;

/// Whether the valid character at the front of `text`, `length` bytes long, moves a terminal's
/// cursor: C0 controls, DEL, and the C1 controls U+0080..U+009F.
bool is_control(std::string_view text, size_t length) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (length == 1) return first < 0x20 || first == 0x7f;
  return length == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
}

void append_escaped(std::string& out, char byte) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto value = static_cast<unsigned char>(byte);
  out += "\\x";
  out += kHex[value >> 4];
  out += kHex[value & 15];
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out = "'";
  size_t at = 0;
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    const size_t length = utf8_length(rest);
    const size_t taken = length == 0 ? 1 : length;
    if (at + taken > kMaxQuoted) break;
    if (length == 0 || is_control(rest, length)) {
      for (const char byte : rest.substr(0, taken)) append_escaped(out, byte);
    } else {
      out += rest.substr(0, length);
    }
    at += taken;
  }
  out += at < text.size() ? "...'" : "'";
  return out;
}

}  // namespace winnow
