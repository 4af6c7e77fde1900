#include "src/eval/text_rules.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/base/utf8.h"

namespace winnow {
namespace {

/// Every `step`th code point from first to last is a capital; its small letter lies `to` further.
struct Capitals {
  char32_t first, last;
  uint32_t step;
  int32_t to;
};

constexpr Capitals kCapitals[] = {
    {'A', 'Z', 1, 32},      {0xC0, 0xD6, 1, 32},     {0xD8, 0xDE, 1, 32},
    {0x100, 0x12E, 2, 1},   {0x132, 0x136, 2, 1},    {0x139, 0x147, 2, 1},
    {0x14A, 0x176, 2, 1},   {0x178, 0x178, 1, -121}, {0x179, 0x17D, 2, 1},
    {0x386, 0x386, 1, 38},  {0x388, 0x38A, 1, 37},   {0x38C, 0x38C, 1, 64},
    {0x38E, 0x38F, 1, 63},  {0x391, 0x3A1, 1, 32},   {0x3A3, 0x3AB, 1, 32},
    {0x400, 0x40F, 1, 80},  {0x410, 0x42F, 1, 32},   {0x460, 0x480, 2, 1},
    {0x48A, 0x4BE, 2, 1},   {0x4C0, 0x4C0, 1, 15},   {0x4C1, 0x4CD, 2, 1},
    {0x4D0, 0x52E, 2, 1},   {0x1E00, 0x1E94, 2, 1},  {0x1E9E, 0x1E9E, 1, -7615},
    {0x1EA0, 0x1EFE, 2, 1}, {0xFF21, 0xFF3A, 1, 32},
};

struct Characters {
  char32_t first, last;
};

// Beyond ASCII, what is no part of a word, as far as metrics.h promises.
constexpr Characters kBetweenWords[] = {
    {0x80, 0xA9},     {0xAB, 0xB1},       {0xB4, 0xB4},     {0xB6, 0xB8},     {0xBB, 0xBB},
    {0xBF, 0xBF},     {0xD7, 0xD7},       {0xF7, 0xF7},     {0x300, 0x36F},   {0x1680, 0x1680},
    {0x1DC0, 0x1DFF}, {0x2000, 0x206F},   {0x209D, 0x2101}, {0x211E, 0x2123}, {0x218A, 0x245F},
    {0x2500, 0x2775}, {0x2794, 0x2BFF},   {0x2E30, 0x3004}, {0x3008, 0x3020}, {0x30FB, 0x30FB},
    {0xFE00, 0xFE6F}, {0xFEFD, 0xFF0F},   {0xFF1A, 0xFF20}, {0xFF3B, 0xFF40}, {0xFF5B, 0xFF65},
    {0xFFDD, 0xFFFF}, {0x1F10D, 0x1FBEF},
};

constexpr Characters kSpaces[] = {
    {0x09, 0x0D},     {0x1C, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
};

bool is_in(std::span<const Characters> ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const Characters& range) { return c >= range.first && c <= range.last; });
}

bool is_space(char32_t c) {
  return is_in(kSpaces, c);
}

/// What string.punctuation has: the visible characters of ASCII but letters and digits.
bool is_punctuation(char32_t c) {
  const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return c > 0x20 && c < 0x7F && !is_letter && !is_digit(c);
}

/// Whether `c` is part of a word, for text without punctuation.
bool is_word(char32_t c) {
  if (c < 0x80) return c > 0x20 && c != 0x7F;
  return !is_in(kBetweenWords, c);
}

char32_t lower(char32_t c) {
  for (const Capitals& row : kCapitals) {
    if (c >= row.first && c <= row.last && (c - row.first) % row.step == 0) {
      return static_cast<char32_t>(static_cast<int32_t>(c) + row.to);
    }
  }
  return c;
}

}  // namespace

std::u32string characters(std::string_view bytes) {
  const std::string text = utf8_replace_invalid(bytes);
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(std::string_view(text).substr(at));
    const auto first = static_cast<unsigned char>(text[at]);
    char32_t c = length == 1 ? first : first & (0x7FU >> length);
    for (size_t i = 1; i < length; ++i) {
      c = (c << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3FU);
    }
    out += c;
    at += length;
  }
  return out;
}

std::u32string lower_characters(std::string_view bytes) {
  std::u32string text = characters(bytes);
  std::transform(text.begin(), text.end(), text.begin(), lower);
  return text;
}

Words split_at_spaces(std::u32string_view text) {
  Words words;
  for_each_run(
      text, [](char32_t c) { return !is_space(c); },
      [&words](std::u32string_view word) { words.emplace_back(word); });
  return words;
}

Words normal_words(std::string_view bytes) {
  std::u32string text = lower_characters(bytes);
  std::erase_if(text, is_punctuation);
  // Letters become spaces behind the place that is looked at next.
  const auto blank_article = [&text](std::u32string_view word) {
    if (word != U"a" && word != U"an" && word != U"the") return;
    std::fill_n(text.begin() + (word.data() - text.data()), word.size(), U' ');
  };
  for_each_run(text, is_word, blank_article);
  return split_at_spaces(text);
}

}  // namespace winnow
