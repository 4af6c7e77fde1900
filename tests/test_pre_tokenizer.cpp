// The words that each known pattern cuts out of a text. Expected ones are cut by hand, by reading
// the pattern's alternatives from left to right.
#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/expect_error.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/split_patterns.h"

using namespace winnow;

namespace {

using Words = std::vector<std::string>;

Words words_of(const std::vector<std::string>& patterns, const std::string& text) {
  Words words;
  PreTokenizer(patterns).split(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

Words words_of(std::string_view pattern, const std::string& text) {
  return words_of(std::vector{std::string(pattern)}, text);
}

}  // namespace

TEST_CASE("GPT-2's words take one space along, and leave the last of several to the next word") {
  CHECK(words_of(kGpt2Pattern, "Hello  world") == Words{"Hello", " ", " world"});
  CHECK(words_of(kGpt2Pattern, "a\n\nb ") == Words{"a", "\n", "\n", "b", " "});
  CHECK(words_of(kGpt2Pattern, "it's IT'S we'll") ==
        Words{"it", "'s", " IT", "'", "S", " we", "'ll"});
  CHECK(words_of(kGpt2Pattern, "x12345y?!") == Words{"x", "12345", "y", "?!"});
  CHECK(words_of(kGpt2Pattern, "").empty());
}

TEST_CASE("Llama-3's words: digits by three, a sign with its word, line ends with what is before") {
  CHECK(words_of(kLlama3Pattern, "1234567") == Words{"123", "456", "7"});
  CHECK(words_of(kLlama3Pattern, "it's IT'S") == Words{"it", "'s", " IT", "'S"});
  CHECK(words_of(kLlama3Pattern, "(foo)\n\nbar") == Words{"(foo", ")\n\n", "bar"});
  CHECK(words_of(kLlama3Pattern, "a  \n  b") == Words{"a", "  \n", " ", " b"});
  CHECK(words_of(kLlama3Pattern, "a\tb") == Words{"a", "\tb"});
  // U+017F folds to s.
  CHECK(words_of(kLlama3Pattern, "it'\u017F") == Words{"it", "'\u017F"});
}

TEST_CASE("Qwen2's words have digits one by one") {
  CHECK(words_of(kQwen2Pattern, "in 2024!") == Words{"in", " ", "2", "0", "2", "4", "!"});
}

TEST_CASE("Llama-3's pattern is known with other counts of digits") {
  std::string pattern(kLlama3Pattern);
  const size_t at = pattern.find("{1,3}");
  CHECK(words_of(std::string(pattern).replace(at, 5, "{1,2}"), "12345") == Words{"12", "34", "5"});
  CHECK(words_of(std::string(pattern).replace(at, 5, "+"), "12345") == Words{"12345"});
  CHECK(std::string(pattern).replace(at, 5, "") == kQwen2Pattern);
  CHECK_FALSE(pcre2_split_pattern(std::string(pattern).replace(at, 5, "{1,3}+")));
  CHECK_FALSE(pcre2_split_pattern(std::string(pattern).replace(at, 5, "{1,4}")));
}

TEST_CASE("Tekken's words begin anew where a capital follows a small letter") {
  const std::string pattern =
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
      R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  CHECK(words_of(pattern, "camelCase HTTPServer USA") ==
        Words{"camel", "Case", " HTTPServer", " USA"});
  CHECK(words_of(pattern, "a+/\n12") == Words{"a", "+/\n", "1", "2"});
}

TEST_CASE("white space is Unicode's: U+0085 is, U+180E and U+200B are not") {
  // " ?[^\s\p{L}\p{N}]+" takes a sign that is no space together with its neighbours.
  CHECK(words_of(kGpt2Pattern, "!\u180E!") == Words{"!\u180E!"});
  CHECK(words_of(kGpt2Pattern, "!\u200B!") == Words{"!\u200B!"});
  for (const std::string space : {"\u0085", "\u00A0", "\u1680", "\u2000", "\u200A", "\u2028",
                                  "\u2029", "\u202F", "\u205F", "\u3000", "\t", "\v", "\f", "\r"}) {
    CAPTURE(space);
    CHECK(words_of(kGpt2Pattern, "!" + space + "!") == Words{"!", space, "!"});
  }
}

TEST_CASE("letters and digits are Unicode's") {
  CHECK(words_of(kGpt2Pattern, "Привет 你好") == Words{"Привет", " 你好"});
  CHECK(words_of(kGpt2Pattern, "٣٤½Ⅻ²") == Words{"٣٤½Ⅻ²"});
  CHECK(words_of(kQwen2Pattern, "e\u0301a") == Words{"e", "\u0301a"});  // a mark is no letter
}

TEST_CASE("patterns cut one after the other, and what lies between matches is a word") {
  CHECK(words_of(kDigitPattern, "ab12c") == Words{"ab", "1", "2", "c"});
  CHECK(words_of(kDigitsPattern, "12ab34") == Words{"12", "ab", "34"});
  CHECK(words_of({std::string(kDigitPattern), std::string(kGpt2Pattern)}, "a 12 b!") ==
        Words{"a", " ", "1", "2", " b", "!"});
  CHECK(words_of(std::vector<std::string>{}, "a b") == Words{"a b"});
  CHECK(words_of(std::vector<std::string>{}, "").empty());
}

TEST_CASE("a pattern that is not known is never run") {
  for (const std::string_view pattern :
       {"", "(a+)+$", R"(\p{Foo})", R"(\s)", ".", R"(\p{N}{1,3})"}) {
    CHECK_FALSE(pcre2_split_pattern(pattern));
  }
  CHECK_FALSE(pcre2_split_pattern(std::string(kGpt2Pattern) + "|"));
  CHECK_FALSE(pcre2_split_pattern(kLlama3Pattern.substr(1)));
  test::expect_error(ExitCode::kInternal, {"unknown pattern", "'a|b'"},
                     [] { words_of("a|b", "ab"); });
}

TEST_CASE("runs that a search goes back over are cut in linear time") {
  // Over the 10 million steps that PCRE2 allows a search by itself.
  const std::string spaces(12'000'000, ' ');
  const auto start = std::chrono::steady_clock::now();
  CHECK(words_of(kLlama3Pattern, spaces + "x").size() == 2);
  CHECK(words_of(kGpt2Pattern, spaces).size() == 1);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  CHECK(time.count() < 30);
}
