// The words of needles: the lists that are built in, and the ones that a file brings.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "src/eval/words.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"

namespace winnow::test {
namespace {

using Strings = std::vector<std::string>;

const std::string kGood =
    R"({"key_adjectives": ["red"], "key_nouns": ["fox", "owl"], "value_words": ["sun"]})";

NeedleWords read_text(std::string_view text) {
  const TempDir dir;
  write_file(dir / "words.json", text);
  return read_needle_words(dir / "words.json");
}

void refuse(const std::string& text, std::initializer_list<std::string_view> parts) {
  CAPTURE(text.substr(0, 200));
  expect_error(ExitCode::kIo, parts, [&] { read_text(text); });
}

/// kGood with `to` in the place of `from`.
std::string good_but(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::set<std::string> as_set(const Strings& words) {
  return {words.begin(), words.end()};
}

bool is_lower_case(const std::string& word) {
  return !word.empty() && std::ranges::all_of(word, [](char c) { return c >= 'a' && c <= 'z'; });
}

/// Words that both lists have.
Strings common(const Strings& a, const Strings& b) {
  const std::set<std::string> set_a = as_set(a), set_b = as_set(b);
  Strings both;
  std::ranges::set_intersection(set_a, set_b, std::back_inserter(both));
  return both;
}

TEST_CASE("words: the lists that are built in") {
  const NeedleWords words = default_needle_words();
  for (const Strings* list : {&words.adjectives, &words.nouns, &words.values}) {
    CHECK(list->size() >= 32);
    CHECK(as_set(*list).size() == list->size());  // none comes twice
    for (const std::string& word : *list) {
      CAPTURE(word);
      CHECK(is_lower_case(word));
    }
  }
  // A word of a question is no word of an answer: who repeats the question has nothing right.
  CHECK(common(words.values, words.nouns) == Strings{});
  CHECK(common(words.values, words.adjectives) == Strings{});
  CHECK(common(words.nouns, words.adjectives) == Strings{});
}

TEST_CASE("words: no word of an answer is part of another, as the answers are looked for") {
  const NeedleWords words = default_needle_words();
  for (const std::string& word : words.values) {
    CAPTURE(word);
    const auto holds = [&](const std::string& other) {
      return other.find(word) != std::string::npos;
    };
    CHECK(std::ranges::count_if(words.values, holds) == 1);
  }
}

TEST_CASE("words: a file's lists in their order") {
  const NeedleWords words = read_text(kGood);
  CHECK(words.adjectives == Strings{"red"});
  CHECK(words.nouns == Strings{"fox", "owl"});
  CHECK(words.values == Strings{"sun"});
}

TEST_CASE("words: other members are passed over, and any word without white space is one") {
  const NeedleWords words = read_text(R"({
    "steps": 2000, "value_words": ["Zoë", "zo\u00eb", "it's", "3.14", "Zoë"],
    "nested": {"key_nouns": [1]}, "none": null, "key_nouns": ["東"], "key_adjectives": ["a"]})");
  CHECK(words.values == Strings{"Zoë", "zoë", "it's", "3.14", "Zoë"});
  CHECK(words.nouns == Strings{"東"});
  CHECK(words.adjectives == Strings{"a"});
}

TEST_CASE("words: a file that cannot be read") {
  const TempDir dir;
  expect_error(ExitCode::kIo, {"absent.json", "No such file"},
               [&] { read_needle_words(dir / "absent.json"); });
  expect_error(ExitCode::kIo, {"is a directory"}, [&] { read_needle_words(dir.path()); });
  expect_error(ExitCode::kIo, {"/dev/null", "not a regular file"},
               [] { read_needle_words("/dev/null"); });
}

TEST_CASE("words: a file that is too large, though it is no part of a model") {
  const TempDir dir;
  write_file(dir / "words.json", "");
  std::filesystem::resize_file(dir / "words.json", (uint64_t{16} << 20) + 1);
  expect_error(ExitCode::kIo, {"words.json: ", "16777217 bytes"},
               [&] { read_needle_words(dir / "words.json"); });
}

TEST_CASE("words: what is no JSON names file, line and column") {
  refuse("", {"words.json:1:"});
  refuse("{\n  \"key_nouns\": [\"fox\",]}", {"words.json:2:"});
  refuse(kGood + kGood, {"words.json:1:"});
  refuse("\xef\xbb\xbf" + kGood, {"words.json:1:1: ", "byte order mark"});
  refuse(good_but("fox", "\xff"), {"words.json:1:", "UTF-8"});
  refuse(good_but("value_words", "key_nouns"), {"words.json:1:", "duplicate key 'key_nouns'"});
}

TEST_CASE("words: what is no object names the file") {
  for (const char* text : {"[]", "7", "null", "\"key_nouns\"", R"([{"key_nouns": ["fox"]}])"}) {
    refuse(text, {"words.json: ", "JSON object"});
  }
}

TEST_CASE("words: a list that is missing is named") {
  refuse("{}", {"words.json: ", "no list \"key_adjectives\""});
  refuse(good_but("key_adjectives", "adjectives"), {"words.json: ", "no list \"key_adjectives\""});
  refuse(good_but("key_nouns", "key_noun"), {"words.json: ", "no list \"key_nouns\""});
  refuse(good_but("value_words", "Value_words"), {"words.json: ", "no list \"value_words\""});
}

TEST_CASE("words: a list of anything but words is named") {
  const std::string lists[] = {R"(["red"])", R"(["fox", "owl"])", R"(["sun"])"};
  const std::string names[] = {"key_adjectives", "key_nouns", "value_words"};
  for (size_t i = 0; i < 3; ++i) {
    for (const char* bad : {"[]",
                            "null",
                            "\"sun\"",
                            "3",
                            R"({"0": "sun"})",
                            "[1]",
                            "[null]",
                            R"([["sun"]])",
                            R"([""])",
                            R"(["sun", ""])",
                            R"(["sun", 1])",
                            R"(["two words"])",
                            R"([" sun"])",
                            R"(["sun "])",
                            R"(["a\tb"])",
                            R"(["a\nb"])",
                            R"(["a\rb"])",
                            R"(["a\u000bb"])",
                            R"(["a\fb"])",
                            R"(["sun", "a b", "moon"])"}) {
      refuse(good_but(lists[i], bad), {"words.json: \"" + names[i] + "\" must be a list of words"});
    }
  }
}

}  // namespace
}  // namespace winnow::test
