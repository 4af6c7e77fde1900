#include "src/kv/kept_pieces.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "src/base/utf8.h"

namespace winnow {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

constexpr std::array kUnseen = std::to_array<Range>({
    {0xAD, 0xAD},  // soft hyphen
    {0x61C, 0x61C},
    {0x200E, 0x200F},
    {0x202A, 0x202E},  // direction
    {0x200B, 0x200B},
    {0x2060, 0x206F},
    {0xFEFF, 0xFEFF},    // zero width, direction
    {0x2028, 0x2029},    // separators of lines
    {0xFFF9, 0xFFFB},    // annotations
    {0xE0000, 0xE00FF},  // tags
});

constexpr std::array kZeroWidth = std::to_array<Range>({
    {0x300, 0x36F},   {0x483, 0x489},   {0x591, 0x5BD},   {0x610, 0x61A},   {0x64B, 0x65F},
    {0x670, 0x670},   {0x6D6, 0x6DC},   {0x6DF, 0x6E4},   {0x900, 0x902},   {0x93C, 0x93C},
    {0x941, 0x948},   {0x94D, 0x94D},   {0xE31, 0xE31},   {0xE34, 0xE3A},   {0xE47, 0xE4E},
    {0x1160, 0x11FF}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200C, 0x200D}, {0x20D0, 0x20FF},
    {0x302A, 0x302D}, {0x3099, 0x309A}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xE0100, 0xE01EF},
});

constexpr std::array kWide = std::to_array<Range>({
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x23E9, 0x23EC},   {0x2614, 0x2615},
    {0x2648, 0x2653},   {0x26AA, 0x26AB},   {0x26BD, 0x26BE},   {0x2705, 0x2705},
    {0x2728, 0x2728},   {0x274C, 0x274C},   {0x2753, 0x2757},   {0x2795, 0x2797},
    {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},   {0x2E80, 0x303E},   {0x3041, 0x4DBF},
    {0x4E00, 0xA4CF},   {0xA960, 0xA97C},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
    {0xFE30, 0xFE6F},   {0xFF01, 0xFF60},   {0xFFE0, 0xFFE6},   {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F7E0, 0x1F7EB}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD},
});

template <size_t N>
bool contains(const std::array<Range, N>& ranges, char32_t character) {
  return std::any_of(ranges.begin(), ranges.end(), [character](const Range& range) {
    return character >= range.first && character <= range.last;
  });
}

void append_escape(std::string& out, char32_t value) {
  std::array<char, 16> text{};
  const auto number = static_cast<unsigned>(value);
  const char* const format = value < 0x100 ? "\\x%02x" : value < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(text.data(), text.size(), format, number);
  out += text.data();
}

/// Appends the character at the front of `bytes`, or its first byte where there is none, as it may
/// be shown. Returns how many bytes that was.
size_t append_visible(std::string& out, std::string_view bytes) {
  const size_t length = utf8_length(bytes.substr(0, 4));
  if (length == 0) {
    append_escape(out, static_cast<unsigned char>(bytes[0]));
    return 1;
  }
  const char32_t character = front_character(bytes);
  const bool control = character < 0x20 || (character >= 0x7F && character < 0xA0);
  if (character == '\n') {
    out += "↵\n";
  } else if (character == '\t') {
    out += "⇥";
  } else if (control || contains(kUnseen, character)) {
    append_escape(out, character);
  } else {
    out += bytes.substr(0, length);
  }
  return length;
}

}  // namespace

char32_t front_character(std::string_view text) {
  const size_t length = utf8_length(text.substr(0, 4));
  const auto byte = [text](size_t i) {
    return static_cast<char32_t>(static_cast<uint8_t>(text[i]));
  };
  if (length <= 1) return byte(0);
  char32_t character = byte(0) & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) character = character << 6 | (byte(i) & 0x3F);
  return character;
}

int64_t cell_width(char32_t character) {
  if (character < 0x300) return 1;
  if (contains(kZeroWidth, character)) return 0;
  return contains(kWide, character) ? 2 : 1;
}

std::string visible_text(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) bytes.remove_prefix(append_visible(out, bytes));
  return out;
}

std::vector<KeptPiece> kept_pieces(std::span<const std::string> token_text) {
  std::string all;
  for (const std::string& bytes : token_text) all += bytes;
  std::vector<KeptPiece> pieces;
  size_t begin = 0;
  size_t next = 0;  // where in `all` the next character starts
  for (size_t i = 0; i < token_text.size(); ++i) {
    const size_t end = begin + token_text[i].size();
    if (next > begin && next >= end) {
      ++pieces.back().n;
    } else {
      KeptPiece piece{static_cast<int64_t>(i), 1, begin == end ? "∅" : ""};
      while (next < end) next += append_visible(piece.text, std::string_view(all).substr(next));
      pieces.push_back(std::move(piece));
    }
    begin = end;
  }
  return pieces;
}

}  // namespace winnow
