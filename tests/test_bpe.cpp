#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/expect_error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"

using namespace winnow;

namespace {

using Ids = std::vector<int32_t>;

/// The byte's own number is its id.
BpeEncoder::ByteIds own_numbers() {
  BpeEncoder::ByteIds ids = {};
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

/// Merges with ranks in the order given; their results are 256, 257, ..
std::vector<BpeMerge> ranked(const std::vector<std::pair<int32_t, int32_t>>& pairs) {
  std::vector<BpeMerge> merges;
  for (const auto& [left, right] : pairs) {
    const auto rank = static_cast<uint32_t>(merges.size());
    merges.push_back({left, right, 256 + static_cast<int32_t>(rank), rank});
  }
  std::ranges::sort(merges, {}, [](const BpeMerge& m) { return std::pair(m.left, m.right); });
  return merges;
}

Ids encode(const std::vector<BpeMerge>& merges, const std::string& word) {
  const BpeMerges table(merges, 2000);
  const BpeEncoder::ByteIds byte_ids = own_numbers();
  Ids ids;
  BpeEncoder(table, byte_ids).append_ids(word, ids);
  return ids;
}

/// As the definition says: look at all pairs, join the best, and begin again.
Ids encode_slowly(const std::vector<BpeMerge>& merges, const std::string& word) {
  Ids ids;
  for (const char byte : word) ids.push_back(static_cast<uint8_t>(byte));
  while (true) {
    const BpeMerge* best = nullptr;
    size_t best_at = 0;
    for (size_t at = 0; at + 1 < ids.size(); ++at) {
      for (const BpeMerge& merge : merges) {
        const bool fits = merge.left == ids[at] && merge.right == ids[at + 1];
        if (fits && (best == nullptr || merge.rank < best->rank)) {
          best = &merge;
          best_at = at;
        }
      }
    }
    if (best == nullptr) return ids;
    ids[best_at] = best->result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

}  // namespace

TEST_CASE("the byte alphabet is GPT-2's") {
  CHECK(byte_level_text(" the\n") == "\u0120the\u010A");
  CHECK(byte_level_text(std::string("\0\x1F\x7F", 3)) == "\u0100\u011F\u0121");
  CHECK(byte_level_text("\x80\xA0\xAD\xA1\xFF") == "\u0122\u0142\u0143\u00A1\u00FF");
  CHECK(byte_level_text("!~") == "!~");
  CHECK(byte_level_text("").empty());
}

TEST_CASE("the byte alphabet spells every byte once, and reads it back") {
  std::map<std::string, int> texts;
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    ++texts[byte_level_text(one)];
    all += one;
  }
  CHECK(texts.size() == 256);
  CHECK(byte_level_bytes(byte_level_text(all)) == all);
}

TEST_CASE("text outside of the byte alphabet spells no bytes") {
  for (const std::string text : {" ", "a b", "\n", "\u00AD", "\u00A0", "\u0144", "\u4E2D",
                                 "\U0001F600", "\xFF", "\xC4", "\x7F"}) {
    CAPTURE(text);
    CHECK_FALSE(byte_level_bytes(text));
  }
  CHECK(byte_level_bytes("") == "");
}

TEST_CASE("the pair of the lowest rank is joined first, of equals the leftmost") {
  // The example in bpe.h: t h, r e, th e.
  const auto there = ranked({{'t', 'h'}, {'r', 'e'}, {256, 'e'}});
  CHECK(encode(there, "there") == Ids{258, 257});
  CHECK(encode(there, "ethe") == Ids{'e', 258});
  CHECK(encode(there, "").empty());
  CHECK(encode(there, "t") == Ids{'t'});

  const auto leftmost = ranked({{'a', 'a'}});
  CHECK(encode(leftmost, "aaa") == Ids{256, 'a'});
  CHECK(encode(leftmost, "aaaa") == Ids{256, 256});
  // b c comes before a b, although a b is further left.
  CHECK(encode(ranked({{'b', 'c'}, {'a', 'b'}}), "abc") == Ids{'a', 256});
}

TEST_CASE("of pairs that share a rank the leftmost is joined") {
  const std::vector<BpeMerge> merges = {{'a', 'b', 256, 3}, {'b', 'c', 257, 3}, {'c', 'd', 258, 2}};
  CHECK(encode(merges, "abc") == Ids{256, 'c'});
  CHECK(encode(merges, "bcab") == Ids{257, 256});
  CHECK(encode(merges, "abcd") == Ids{256, 258});
}

TEST_CASE("merging gives what the definition gives") {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::map<std::pair<int32_t, int32_t>, bool> seen;
    std::vector<std::pair<int32_t, int32_t>> pairs;
    for (size_t n = random() % 30; n > 0; --n) {
      const auto piece = [&] {
        const auto made = static_cast<int32_t>(random() % (pairs.size() + 3));
        return made < 3 ? 'a' + made : 256 + made - 3;
      };
      const std::pair pair(piece(), piece());
      if (seen.emplace(pair, true).second) pairs.push_back(pair);
    }
    std::vector<BpeMerge> merges = ranked(pairs);
    if (round % 3 == 0) {  // ranks that several share
      for (BpeMerge& merge : merges) merge.rank /= 3;
    }
    std::string word(random() % 40, ' ');
    for (char& byte : word) byte = static_cast<char>('a' + random() % 3);
    CAPTURE(word);
    REQUIRE(encode(merges, word) == encode_slowly(merges, word));
  }
}

TEST_CASE("a byte without a piece is an error, not an id") {
  const BpeMerges none({}, 256);
  BpeEncoder::ByteIds ids = own_numbers();
  ids['x'] = -1;
  BpeEncoder encoder(none, ids);
  Ids out;
  test::expect_error(ExitCode::kInternal, {"no piece", "'x'"},
                     [&] { encoder.append_ids("ax", out); });
}
