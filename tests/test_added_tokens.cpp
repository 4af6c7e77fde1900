#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/shown.h"
#include "tokenizer/added_tokens.h"

using namespace winnow;

namespace {

/// The parts of `text`; tokens as "[id]".
std::vector<std::string> parts_of(const std::vector<AddedToken>& tokens, const std::string& text) {
  std::vector<std::string> parts;
  AddedTokenFinder(tokens).split(text, [&](std::string_view part, const AddedToken* token) {
    CHECK((token != nullptr) == part.empty());
    parts.push_back(token != nullptr ? "[" + std::to_string(token->id) + "]" : std::string(part));
  });
  return parts;
}

using Parts = std::vector<std::string>;

}  // namespace

TEST_CASE("added tokens are found from the left, the longest first") {
  const std::vector<AddedToken> tokens = {{.content = "ab", .id = 1},
                                          {.content = "abab", .id = 2},
                                          {.content = "bc", .id = 3},
                                          {.content = "\u00E9", .id = 4}};
  CHECK(parts_of(tokens, "xabc") == Parts{"x", "[1]", "c"});
  CHECK(parts_of(tokens, "ababab") == Parts{"[2]", "[1]"});
  CHECK(parts_of(tokens, "aba") == Parts{"[1]", "a"});
  CHECK(parts_of(tokens, "bbc") == Parts{"b", "[3]"});
  CHECK(parts_of(tokens, "caf\u00E9!") == Parts{"caf", "[4]", "!"});
  CHECK(parts_of(tokens, "\u00EA") == Parts{"\u00EA"});  // C3 AA begins as C3 A9 does
  CHECK(parts_of(tokens, "").empty());
  CHECK(parts_of({}, "ab") == Parts{"ab"});
}

TEST_CASE("a token takes the white space beside it along where it says so") {
  const std::vector<AddedToken> tokens = {
      {.content = "L", .id = 1, .lstrip = true},
      {.content = "R", .id = 2, .rstrip = true},
      {.content = "B", .id = 3, .lstrip = true, .rstrip = true}};
  CHECK(parts_of(tokens, "a \n\u3000L b") == Parts{"a", "[1]", " b"});
  CHECK(parts_of(tokens, "a R \t b") == Parts{"a ", "[2]", "b"});
  CHECK(parts_of(tokens, "a B b") == Parts{"a", "[3]", "b"});
  CHECK(parts_of(tokens, " L  L ") == Parts{"[1]", "[1]", " "});
  CHECK(parts_of(tokens, "R  L") == Parts{"[2]", "[1]"});
  CHECK(parts_of(tokens, "a\u200BL") == Parts{"a\u200B", "[1]"});  // no white space
  CHECK(parts_of(tokens, "R   ") == Parts{"[2]"});
  CHECK(parts_of(tokens, "   L") == Parts{"[1]"});
}

TEST_CASE("a token in white space that was taken along is found, and text goes on behind it") {
  const std::vector<AddedToken> tokens = {{.content = "R", .id = 1, .rstrip = true},
                                          {.content = "\n", .id = 2},
                                          {.content = " x", .id = 3}};
  CHECK(parts_of(tokens, "R\n a") == Parts{"[1]", "[2]", " a"});
  CHECK(parts_of(tokens, "R x") == Parts{"[1]", "[3]"});
  CHECK(parts_of(tokens, "R  xy") == Parts{"[1]", "[3]", "y"});
}

TEST_CASE("a single word has no letter, mark, digit or underscore beside it") {
  const std::vector<AddedToken> tokens = {{.content = "W", .id = 1, .single_word = true}};
  for (const std::string beside : {"a", "_", "1", "\u0301", "\u4E2D", "\u2164", "\u24B6", "\u200D",
                                   "\u0663", "\u203F", "\U0001F170"}) {
    CAPTURE(beside);
    CHECK(parts_of(tokens, beside + "W") == Parts{beside + "W"});
    CHECK(parts_of(tokens, "W" + beside) == Parts{"W" + beside});
  }
  for (const std::string beside :
       {" ", "-", "\u00BD", "\u2019", "\U0001F600", "\u3002", "\u00B2"}) {
    CAPTURE(beside);
    CHECK(parts_of(tokens, beside + "W" + beside) == Parts{beside, "[1]", beside});
  }
  CHECK(parts_of(tokens, "W") == Parts{"[1]"});
  CHECK(parts_of(tokens, "WW W") == Parts{"WW ", "[1]"});
}

TEST_CASE("a control token's look is text, and hides what is in it") {
  const std::vector<AddedToken> tokens = {
      {.content = "<|x|>", .id = 1, .special = true, .lstrip = true}, {.content = "|", .id = 2}};
  CHECK(parts_of(tokens, "a <|x|> b") == Parts{"a <|x|> b"});
  CHECK(parts_of(tokens, "<|x|") == Parts{"<", "[2]", "x", "[2]"});
  CHECK(parts_of(tokens, "<|x|>|") == Parts{"<|x|>", "[2]"});
}

TEST_CASE("white space around many tokens is passed over once") {
  const std::vector<AddedToken> tokens = {
      {.content = "\n", .id = 1, .lstrip = true, .rstrip = true}};
  const std::string text(2'000'000, '\n');
  size_t n = 0;
  const auto start = std::chrono::steady_clock::now();
  AddedTokenFinder(tokens).split(text, [&](std::string_view, const AddedToken*) { ++n; });
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  CHECK(n == text.size());
  CHECK(time.count() < 30);  // a quadratic search would take an hour
}
