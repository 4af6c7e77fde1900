#include "tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "src/base/utf8.h"

namespace winnow {
namespace {

constexpr uint32_t kFirstStandIn = 0x100;  // U+0100 stands for byte 0
constexpr size_t kCodes = 0x144;           // the alphabet ends at U+0143

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint32_t, 256> code_of_byte = {};
  std::array<int, kCodes> byte_of_code = {};  // -1: not in the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (int& byte : alphabet.byte_of_code) byte = -1;
  uint32_t next = kFirstStandIn;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t code = stands_for_itself(byte) ? byte : next++;
    alphabet.code_of_byte[byte] = code;
    alphabet.byte_of_code[code] = static_cast<int>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string byte_level_text(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    const uint32_t code = kAlphabet.code_of_byte[static_cast<uint8_t>(byte)];
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else {
      text.push_back(static_cast<char>(0xC0 | code >> 6));
      text.push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
  }
  return text;
}

std::optional<std::string> byte_level_bytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0 || length > 2) return std::nullopt;
    uint32_t code = static_cast<uint8_t>(text[0]);
    if (length == 2) code = (code & 0x1F) << 6 | (static_cast<uint8_t>(text[1]) & 0x3F);
    if (code >= kCodes || kAlphabet.byte_of_code[code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte_of_code[code]));
    text.remove_prefix(length);
  }
  return bytes;
}

}  // namespace winnow
