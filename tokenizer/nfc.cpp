#include "tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "src/base/error.h"

namespace winnow {
namespace {

constexpr auto kDecompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

bool is_ascii(char byte) {
  return static_cast<uint8_t>(byte) < 0x80;
}

bool is_mark(int32_t code) {
  return utf8proc_get_property(code)->combining_class != 0;
}

/// The characters of `text`, each taken apart.
std::vector<int32_t> decomposed(std::string_view text) {
  std::vector<int32_t> codes;
  codes.reserve(text.size());
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t at = 0; at < text.size();) {
    int32_t code = 0;
    const auto length =
        utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    WINNOW_CHECK(length > 0, "no valid UTF-8");
    at += static_cast<size_t>(length);
    std::array<int32_t, 8> parts = {};  // the longest canonical decomposition has 4
    int no_state = 0;
    const auto n = utf8proc_decompose_char(
        code, parts.data(), static_cast<utf8proc_ssize_t>(parts.size()), kDecompose, &no_state);
    WINNOW_CHECK(n > 0 && static_cast<size_t>(n) <= parts.size(), n, " parts of a character");
    codes.insert(codes.end(), parts.begin(), parts.begin() + n);
  }
  return codes;
}

/// Puts the marks of each letter in the order of their classes, as utf8proc's own functions do by
/// swapping neighbours, in quadratic time.
void order_marks(std::vector<int32_t>& codes) {
  const auto by_class = [](int32_t a, int32_t b) {
    return utf8proc_get_property(a)->combining_class < utf8proc_get_property(b)->combining_class;
  };
  for (auto first = codes.begin(); first != codes.end();) {
    first = std::find_if(first, codes.end(), is_mark);
    const auto last = std::find_if_not(first, codes.end(), is_mark);
    std::stable_sort(first, last, by_class);
    first = last;
  }
}

void append_nfc(std::string_view text, std::string& out) {
  std::vector<int32_t> codes = decomposed(text);
  order_marks(codes);
  const auto n =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kCompose);
  WINNOW_CHECK(n >= 0, utf8proc_errmsg(n));
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    std::array<utf8proc_uint8_t, 4> bytes = {};
    const auto length = utf8proc_encode_char(codes[i], bytes.data());
    out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
  }
}

}  // namespace

std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (auto at = text.begin(); at != text.end();) {
    auto start = std::find_if_not(at, text.end(), is_ascii);
    const auto end = std::find_if(start, text.end(), is_ascii);
    // ASCII stays as it is and joins nothing in front of it, but marks may join it.
    if (start != end && start != at) --start;
    out.append(at, start);
    if (start != end) append_nfc(std::string_view(&*start, static_cast<size_t>(end - start)), out);
    at = end;
  }
  return out;
}

}  // namespace winnow
