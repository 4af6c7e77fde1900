#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/utf8.h"

using namespace winnow;

namespace {

const std::string kBad = "\xEF\xBF\xBD";  // U+FFFD

// The rows of Unicode 3.9, table 3-7, written out: {first, last} of each byte.
struct Row {
  std::vector<std::pair<int, int>> bytes;
};
const std::vector<Row> kTable = {
    {{{0x00, 0x7F}}},
    {{{0xC2, 0xDF}, {0x80, 0xBF}}},
    {{{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}},
    {{{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {{{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}},
    {{{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {{{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {{{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {{{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}},
};

/// How many bytes at the front of `text` fit `row`.
size_t fitting(const Row& row, std::string_view text) {
  size_t n = 0;
  while (n < row.bytes.size() && n < text.size()) {
    const int byte = static_cast<uint8_t>(text[n]);
    if (byte < row.bytes[n].first || byte > row.bytes[n].second) break;
    ++n;
  }
  return n;
}

size_t naive_length(std::string_view text) {
  for (const Row& row : kTable) {
    if (fitting(row, text) == row.bytes.size()) return row.bytes.size();
  }
  return 0;
}

std::string naive_replace(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t length = naive_length(text);
    if (length > 0) {
      out += text.substr(0, length);
    } else {
      for (const Row& row : kTable) length = std::max(length, fitting(row, text));
      length = std::max<size_t>(length, 1);
      out += kBad;
    }
    text.remove_prefix(length);
  }
  return out;
}

bool agrees(std::string_view text) {
  const std::string replaced = naive_replace(text);
  return utf8_length(text) == naive_length(text) && utf8_replace_invalid(text) == replaced &&
         (utf8_find_invalid(text) == std::string_view::npos) == (replaced == text);
}

std::string streamed(const std::vector<std::string_view>& parts) {
  Utf8Stream stream;
  std::string out;
  for (const std::string_view part : parts) out += stream.push(part);
  return out + stream.finish();
}

std::string random_bytes(std::mt19937& random, size_t size) {
  // Leads, continuations and ASCII alike, so that many strings are nearly right.
  static constexpr std::string_view kLikely =
      "aZ\x80\x8F\x90\x9F\xA0\xBF\xC1\xC2\xDF\xE0\xE1\xED\xEF\xF0\xF1\xF4\xF5\xFF";
  std::string out;
  for (size_t i = 0; i < size; ++i) {
    out +=
        random() % 4 == 0 ? static_cast<char>(random() & 0xFF) : kLikely[random() % kLikely.size()];
  }
  return out;
}

}  // namespace

TEST_CASE("utf8 agrees with the table of well-formed sequences on all short strings") {
  size_t wrong = 0;
  std::string text;
  for (size_t size = 1; size <= 3; ++size) {
    for (uint32_t value = 0; value < 1U << (8 * size); ++value) {
      text.assign(size, '\0');
      for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(value >> (8 * i) & 0xFF);
      // Of the 2^24 strings of 3 bytes, those that ASCII opens say nothing new.
      if (size == 3 && static_cast<uint8_t>(text[0]) < 0x7F) continue;
      wrong += agrees(text) ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("utf8 agrees with the table of well-formed sequences on random strings") {
  std::mt19937 random(1);
  size_t wrong = 0;
  for (int i = 0; i < 300000; ++i) wrong += agrees(random_bytes(random, 4 + random() % 5)) ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("utf8 replaces each maximal part of a character once") {
  CHECK(utf8_replace_invalid("") == "");
  CHECK(utf8_replace_invalid("a\xC3\xA9z") == "a\xC3\xA9z");
  CHECK(utf8_replace_invalid("\xC0\xAF") == kBad + kBad);                        // overlong
  CHECK(utf8_replace_invalid("\xED\xA0\x80") == kBad + kBad + kBad);             // surrogate
  CHECK(utf8_replace_invalid("\xF4\x90\x80\x80") == kBad + kBad + kBad + kBad);  // > U+10FFFF
  CHECK(utf8_replace_invalid("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                             "A") ==  // table 3-8
        kBad + kBad + kBad + kBad + "A");
  CHECK(utf8_replace_invalid(std::string_view("\0\xFF\0", 3)) ==
        std::string(1, '\0') + kBad + std::string(1, '\0'));
}

TEST_CASE("utf8_find_invalid gives the offset of the first bad byte") {
  CHECK(utf8_find_invalid("") == std::string_view::npos);
  CHECK(utf8_find_invalid("\xE2\x96\x81x") == std::string_view::npos);
  CHECK(utf8_find_invalid("ab\xE2\x96") == 2);
  CHECK(utf8_find_invalid("\xE2\x96\x81\x81") == 3);
}

TEST_CASE("Utf8Stream gives the same text wherever the bytes are cut") {
  std::mt19937 random(2);
  const std::string whole =
      "a\xC3\xA9 \xE2\x96\x81 \xF0\x9F\x98\x80 \xED\xA0\x80 \xF0\x9F\x98 z\xE2\x96";
  for (int round = 0; round < 200; ++round) {
    const std::string bytes = round == 0 ? whole : random_bytes(random, 12);
    const std::string_view text = bytes;
    const std::string expected = utf8_replace_invalid(text);
    for (size_t i = 0; i <= text.size(); ++i) {
      for (size_t j = i; j <= text.size(); ++j) {
        REQUIRE(streamed({text.substr(0, i), text.substr(i, j - i), text.substr(j)}) == expected);
      }
    }
  }
}

TEST_CASE("Utf8Stream holds back only what may become a character") {
  Utf8Stream stream;
  CHECK(stream.push("a\xF0\x9F\x98") == "a");
  CHECK(stream.push("") == "");
  CHECK(stream.push("\x80z") == "\xF0\x9F\x98\x80z");
  CHECK(stream.push("\xE2") == "");
  CHECK(stream.push("A") == kBad + "A");
  CHECK(stream.push("\xFF") == kBad);
  CHECK(stream.finish() == "");
  CHECK(stream.push("\xE2\x96") == "");
  CHECK(stream.finish() == kBad);
  CHECK(stream.finish() == "");
  CHECK(stream.push("\x81") == kBad);  // no continuation of what was before finish
}
