// Records of what was kept, to show: random ones, and text of tokens that means harm.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "src/kv/kept.h"
#include "tests/support/shown.h"

namespace winnow::test {

/// Every head keeps each token with probability `share`, for random query heads of its group; runs
/// of successive tokens and bits over the group's are among them.
inline KeptRecord random_kept(int64_t n_tokens, int64_t n_layers, int64_t n_kv_heads, int64_t group,
                              double share, uint64_t seed) {
  KeptRecord record{"sage", 64, n_tokens, n_layers, n_kv_heads, group, {}};
  std::mt19937_64 random(seed);
  const uint32_t bits = ~uint32_t{0} >> (32 - group);
  for (int64_t i = 0; i < n_layers * n_kv_heads; ++i) {
    KeptHead head;
    for (int64_t t = 0; t < n_tokens; ++t) {
      if (std::uniform_real_distribution<double>()(random) >= share) continue;
      const auto some = static_cast<uint32_t>(random());
      const bool all = random() % 2 == 0;
      head.position.push_back(static_cast<int32_t>(t));
      head.mask.push_back(all || (some & bits) == 0 ? 0xffffffffU : some);
    }
    record.heads.push_back(std::move(head));
  }
  return record;
}

/// Whether query head `q` of `layer` sees a token, looked up row by row.
inline bool kept_sees(const KeptRecord& record, int64_t layer, int64_t q, int64_t token) {
  const KeptHead& head = record.head(layer, q / record.group);
  for (size_t r = 0; r < head.position.size(); ++r) {
    if (head.position[r] == token) return (head.mask[r] >> (q % record.group) & 1) != 0;
  }
  return false;
}

/// Bytes that would move a cursor, end a script element, open a comment, turn the direction of
/// writing, or are no text at all.
inline std::vector<std::string> hostile_tokens() {
  return {"<s>",
          "",
          "\x1b[31mred",
          "\x1b]0;title\x07",
          "\x9b"
          "2J",
          "\xC2\x9B"
          "2J",
          "\x7f\b\r\v\f",
          std::string(1, '\0'),
          "\ttab",
          "line\nbreak\r\n",
          "\n",
          "\xF0\x9F",
          "\x98",
          "\x80!",
          "a\xE2",
          "\x80\x99s",
          "\xC3",
          "(",
          "\xE2\x80\xA8\xE2\x80\xA9",
          "\xE2\x80\xAE"
          "evil",
          "\xEF\xBB\xBF\xE2\x80\x8B",
          "</script><script>alert(1)</script>",
          "<!--<script>",
          "]]>&amp;&lt;\"'`\\u003c\\",
          "\xE6\x97\xA5\xE6\x9C\xAC",
          "e\xCC\x81",
          "${x}",
          "end\xF0\x9F\x98"};
}

}  // namespace winnow::test
