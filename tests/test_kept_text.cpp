// What was kept, in the terminal; and the text of tokens as it may be shown.
#include <doctest/doctest.h>

#include <sstream>

#include "src/base/utf8.h"
#include "src/kv/kept_pieces.h"
#include "src/kv/kept_shares.h"
#include "src/kv/kept_text.h"
#include "tests/support/kept_record.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using Strings = std::vector<std::string>;

Strings split_lines(const std::string& text) {
  std::istringstream in(text);
  Strings lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// Characters of valid UTF-8.
std::vector<char32_t> characters(std::string_view text) {
  std::vector<char32_t> all;
  while (!text.empty()) {
    REQUIRE(utf8_length(text) > 0);
    all.push_back(front_character(text));
    text.remove_prefix(utf8_length(text));
  }
  return all;
}

/// Valid UTF-8 without any control but line breaks, nor what turns or breaks lines unseen.
void check_harmless(const std::string& text) {
  for (const char32_t c : characters(text)) {
    CAPTURE(static_cast<uint32_t>(c));
    CHECK((c >= 0x20 || c == '\n'));
    CHECK_FALSE((c >= 0x7F && c < 0xA0));
    CHECK_FALSE((c >= 0x2028 && c <= 0x202E));
    CHECK(c != 0xFEFF);
  }
}

/// `text` without "ESC [ numbers m".
std::string without_styles(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "\x1b[") != 0) {
      out += text[i];
      continue;
    }
    i = text.find_first_not_of("0123456789;", i + 2);
    REQUIRE(i != std::string::npos);
    REQUIRE(text[i] == 'm');
  }
  return out;
}

/// One layer and KV head of one query head that keeps `positions`.
KeptRecord one_head(int64_t n_tokens, std::vector<int32_t> positions) {
  std::vector<uint32_t> masks(positions.size(), 1);
  return {"sage", 8, n_tokens, 1, 1, 1, {{std::move(positions), std::move(masks)}}};
}

/// The lines after the numbers and the legend.
Strings body(const std::string& text) {
  Strings lines = split_lines(text);
  REQUIRE(lines.size() >= 3);
  CHECK(lines[2].empty());
  lines.erase(lines.begin(), lines.begin() + 3);
  return lines;
}

}  // namespace

TEST_CASE("visible_text shows what would act") {
  CHECK(visible_text("a b\tc\nd") == "a b⇥c↵\nd");
  CHECK(visible_text("\x1b[0m\x7f\r") == "\\x1b[0m\\x7f\\x0d");
  CHECK(visible_text(std::string_view("\0", 1)) == "\\x00");
  CHECK(visible_text("\xC2\x85") == "\\x85");       // a control of two bytes
  CHECK(visible_text("\x85\xFF") == "\\x85\\xff");  // bytes that are no character
  CHECK(visible_text("\xE2\x80\xAE\xE2\x80\xA8") == "\\u202e\\u2028");
  CHECK(visible_text("\xF3\xA0\x80\x81") == "\\U000e0001");
  CHECK(visible_text("é日😀\xE2\x80\x8D") == "é日😀\xE2\x80\x8D");  // a joiner is part of emoji
}

TEST_CASE("kept_pieces keeps characters whole, with the token that they start in") {
  const Strings tokens = {"x\xE2", "\x80", "\x99s", "", "\xF0\x9F", "", "\x98\x80", "\xC3", "("};
  const std::vector<KeptPiece> pieces = kept_pieces(tokens);
  const std::vector<std::pair<std::string, int64_t>> expected = {{"x’", 2}, {"s", 1},     {"∅", 1},
                                                                 {"😀", 3},  {"\\xc3", 1}, {"(", 1}};
  REQUIRE(pieces.size() == expected.size());
  int64_t first = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    CAPTURE(i);
    CHECK(pieces[i].text == expected[i].first);
    CHECK(pieces[i].n == expected[i].second);
    CHECK(pieces[i].first == first);
    first += pieces[i].n;
  }
}

TEST_CASE("kept_pieces is the visible text of all tokens, however it is cut") {
  const std::string text = "Zoë’s 日本 😀\n\x1b[1m\xE2\x80\xAEz\xF0\x9F";
  for (size_t cut = 1; cut < 6; ++cut) {
    Strings tokens;
    for (size_t at = 0; at < text.size(); at += cut) tokens.push_back(text.substr(at, cut));
    std::string joined;
    int64_t n = 0;
    for (const KeptPiece& piece : kept_pieces(tokens)) {
      CHECK(piece.first == n);
      joined += piece.text;
      n += piece.n;
    }
    CHECK(joined == visible_text(text));
    CHECK(n == static_cast<int64_t>(tokens.size()));
  }
}

TEST_CASE("kept_text without colours marks every cell of a token by its level") {
  // Token 0: all 4 pairs, 1: none, 2: 1 of 4, 3: 2 of 4 over a wide character, 4: 3 of 4.
  const KeptRecord record{"sage", 3, 5, 2, 1, 2, {{{0, 2, 4}, {3, 1, 3}}, {{0, 3, 4}, {3, 3, 1}}}};
  const Strings tokens = {"The", " grey", " cat", "日", "\nx"};
  const std::string text = kept_text(record, tokens, false);
  const Strings lines = split_lines(text);
  REQUIRE(lines.size() == 7);
  CHECK(lines[0] ==
        "policy sage, budget 3: 5 tokens; of 4 query heads in 2 layers, all see 1 tokens, some see "
        "3, none sees 1");
  CHECK(lines[1] ==
        "seen by none ' '  <1% '.'  <3% ':'  <10% '-'  <25% '='  <50% '+'  >=50% '#'  all '@'");
  CHECK(lines[3] == "The grey cat日↵");
  CHECK(lines[4] == "@@@     ++++###");
  CHECK(lines[5] == "x");
  CHECK(lines[6] == "#");
}

TEST_CASE("a piece of several tokens is shaded by the one that most see") {
  const Strings tokens = {"\xF0\x9F", "\x98\x80", "z"};
  CHECK(body(kept_text(one_head(3, {1}), tokens, false)) == Strings{"😀z", "@@"});
}

TEST_CASE("kept_text lets no byte of a token act on the terminal") {
  const Strings tokens = hostile_tokens();
  const auto n = static_cast<int64_t>(tokens.size());
  KeptRecord record = random_kept(n, 2, 2, 2, 0.5, 7);
  const std::string plain = kept_text(record, tokens, false);
  check_harmless(plain);
  CHECK(plain.find("\\x1b[31mred") != std::string::npos);
  CHECK(plain.find("😀!") != std::string::npos);
  CHECK(plain.find("a’s") != std::string::npos);
  CHECK(plain.find("\\u202eevil") != std::string::npos);

  const std::string colored = kept_text(record, tokens, true);
  check_harmless(without_styles(colored));
  record.policy = "\x1b[2J";
  check_harmless(kept_text(record, tokens, false));
}

TEST_CASE("kept_text in colours is the same text, and no line ends in a colour") {
  Strings tokens;
  for (int i = 0; i < 60; ++i) tokens.push_back(i % 9 == 0 ? ".\n" : " word" + std::to_string(i));
  const KeptRecord record = random_kept(60, 2, 1, 2, 0.6, 3);
  const Strings plain = body(kept_text(record, tokens, false));
  const Strings colored = body(kept_text(record, tokens, true));
  REQUIRE(plain.size() == 2 * colored.size());
  for (size_t i = 0; i < colored.size(); ++i) {
    CAPTURE(colored[i]);
    CHECK(without_styles(colored[i]) == plain[2 * i]);
    CHECK(colored[i].starts_with("\x1b["));
    CHECK(colored[i].ends_with("\x1b[0m"));
  }
  // Two levels, two styles.
  const std::string two = body(kept_text(one_head(2, {1}), Strings{"a", "b"}, true))[0];
  CHECK(two.find("244ma\x1b[0m\x1b[") != std::string::npos);
  CHECK(two.find("226mb\x1b[0m") != std::string::npos);
}

TEST_CASE(
    "kept_text breaks lines before a token that does not fit, and within one that never does") {
  const Strings tokens = {std::string(30, 'a'), " bbbbbbbbb", "c", "日本" + std::string(90, 'd')};
  std::vector<int32_t> all = {0, 1, 2, 3};
  const Strings lines = body(kept_text(one_head(4, all), tokens, false, 40));
  REQUIRE(lines.size() == 8);
  CHECK(lines[0] == std::string(30, 'a') + " bbbbbbbbb");
  CHECK(lines[2] == "c日本" + std::string(35, 'd'));
  CHECK(lines[4] == std::string(40, 'd'));
  CHECK(lines[6] == std::string(15, 'd'));
  CHECK(lines[1] == std::string(40, '@'));
  CHECK(lines[3] == std::string(40, '@'));
  CHECK(lines[7] == std::string(15, '@'));

  const Strings moved = {std::string(35, 'a'), " bbbbbbbbb", "c"};
  const Strings next = body(kept_text(one_head(3, {0, 2}), moved, false, 40));
  CHECK(next == Strings{moved[0], std::string(35, '@'), " bbbbbbbbbc", std::string(10, ' ') + "@"});
}

TEST_CASE("kept_text shortens long runs that nobody kept, and no others") {
  Strings tokens;
  for (int i = 0; i < 1000; ++i) tokens.push_back("t" + std::to_string(i) + " ");
  // Dropped: 1..32 (as long as a run may be in full), 34..998 (shortened).
  const std::string text = kept_text(one_head(1000, {0, 33, 999}), tokens, false);
  std::string words;
  const Strings lines = body(text);
  for (size_t i = 0; i < lines.size(); i += 2) words += lines[i];
  for (int i = 0; i <= 41; ++i) CHECK(words.find(tokens[size_t(i)]) != std::string::npos);
  CHECK(words.find("t41  … 949 tokens dropped … t991 ") != std::string::npos);
  CHECK(words.find("t42 ") == std::string::npos);
  CHECK(words.find("t990 ") == std::string::npos);
  CHECK(words.ends_with("t998 t999 "));

  // A run of a hundred thousand tokens takes no more room.
  tokens.assign(100000, "word ");
  CHECK(kept_text(one_head(100000, {0, 99999}), tokens, false).size() < 1000);
}

TEST_CASE("kept_text of nothing") {
  CHECK(body(kept_text(one_head(0, {}), {}, true)).empty());
  KeptRecord record = one_head(1, {0});
  record.budget.reset();
  record.policy = "full";
  CHECK(kept_text(record, Strings{"a"}, false).starts_with("policy full: 1 tokens;"));
}
