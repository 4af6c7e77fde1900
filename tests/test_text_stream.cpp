#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/text_stream.h"

using namespace winnow;

namespace {

using Strings = std::vector<std::string>;

/// All that comes out when `tokens` go in.
std::string streamed(const Strings& stops, const Strings& tokens) {
  TextStream stream(stops);
  std::string out;
  for (const std::string& token : tokens) out += stream.push(token);
  return out + stream.finish();
}

/// `text` up to the stop string that ends first, found without a stream.
std::string cut(const Strings& stops, const std::string& text) {
  size_t end = std::string::npos;
  size_t start = text.size();
  for (const std::string& stop : stops) {
    const size_t at = text.find(stop);
    if (at == std::string::npos || at + stop.size() > end) continue;
    if (at + stop.size() == end) {
      start = std::min(start, at);
      continue;
    }
    end = at + stop.size();
    start = at;
  }
  return text.substr(0, start);
}

Strings random_tokens(std::mt19937& random, const std::string& text) {
  Strings tokens;
  for (size_t at = 0; at < text.size();) {
    tokens.push_back(text.substr(at, random() % 4));
    at += tokens.back().size();
  }
  return tokens;
}

}  // namespace

TEST_CASE("TextStream without stop strings passes whole characters on at once") {
  TextStream stream;
  CHECK(stream.push("Hello") == "Hello");
  CHECK(stream.push("\xF0\x9F") == "");
  CHECK(stream.push("\x98\x80!") == "\xF0\x9F\x98\x80!");
  CHECK(stream.push("\xE2\x96") == "");
  CHECK(stream.finish() == "\xEF\xBF\xBD");
  CHECK_FALSE(stream.stopped());
}

TEST_CASE("TextStream finds a stop string that is split over tokens") {
  TextStream stream({"STOP"});
  CHECK(stream.push("go S") == "go ");
  CHECK(stream.push("TO") == "");
  CHECK_FALSE(stream.stopped());
  CHECK(stream.push("P and on") == "");
  CHECK(stream.stopped());
  CHECK(stream.push("more") == "");
  CHECK(stream.finish() == "");
}

TEST_CASE("TextStream releases what turned out to be no stop string") {
  TextStream stream({"STOP"});
  CHECK(stream.push("ST") == "");
  CHECK(stream.push("AST") == "STA");
  CHECK(stream.push("SSTO") == "STS");
  CHECK(stream.finish() == "STO");
  CHECK_FALSE(stream.stopped());
}

TEST_CASE("TextStream finds a stop string behind a false start of it") {
  CHECK(streamed({"aab"}, {"a", "a", "a", "b"}) == "a");
  CHECK(streamed({"aab"}, {"aaab"}) == "a");
  CHECK(streamed({"abab!"}, {"ab", "ab", "ab", "!x"}) == "ab");
}

TEST_CASE("TextStream stops at the string that is complete first, the longest of equals") {
  CHECK(streamed({"abc", "ab"}, {"x", "a", "b", "c"}) == "x");
  CHECK(streamed({"ab", "abc"}, {"xabc"}) == "x");
  CHECK(streamed({"c", "abc"}, {"xabc"}) == "x");      // both end at c; "abc" is longer
  CHECK(streamed({"abcd", "bc"}, {"xabcd"}) == "xa");  // "bc" is complete before "abcd"
  CHECK(streamed({"abcd", "bc"}, {"xa", "bcd"}) == "xa");
}

TEST_CASE("TextStream stops at characters whose bytes come one by one") {
  const std::string stop = "\xF0\x9F\x98\x80\xC3\xA9";
  Strings tokens = {"a"};
  for (const char byte : stop) tokens.emplace_back(1, byte);
  tokens.emplace_back("b");
  CHECK(streamed({stop}, tokens) == "a");
  // Half of the stop string's second character, then another one.
  CHECK(streamed({stop}, {"\xF0\x9F\x98\x80", "\xC3", "\xA8"}) == "\xF0\x9F\x98\x80\xC3\xA8");
}

TEST_CASE("TextStream never cuts a character, even for stop strings that are no characters") {
  CHECK(streamed({"\x98"}, {"\xF0\x9F\x98\x80"}) == "\xF0\x9F\x98\x80");
  CHECK(streamed({"\x80z"}, {"\xF0\x9F\x98\x80", "y"}) == "\xF0\x9F\x98\x80y");
  // An invalid byte is U+FFFD in the text and in the stop string alike.
  CHECK(streamed({"\xFF"}, {"ab\xFE", "cd"}) == "ab");
}

TEST_CASE("TextStream may stop on the last incomplete character") {
  TextStream stream({"\xEF\xBF\xBD"});
  CHECK(stream.push("ab\xE2") == "ab");
  CHECK(stream.finish() == "");
  CHECK(stream.stopped());
}

TEST_CASE("TextStream refuses an empty stop string") {
  CHECK_THROWS_AS(TextStream({"a", ""}), Error);
}

TEST_CASE("TextStream equals a search in the whole text, for random tokens and stop strings") {
  std::mt19937 random(3);
  const auto text_of = [&random](size_t size) {
    std::string out;
    static const Strings kAlphabet = {"a", "a", "b", "\xC3\xA9", "\xE2\x96\x81"};
    for (size_t i = 0; i < size; ++i) out += kAlphabet[random() % kAlphabet.size()];
    return out;
  };
  for (int round = 0; round < 20000; ++round) {
    Strings stops(1 + random() % 3);
    for (std::string& stop : stops) stop = text_of(1 + random() % 4);
    const std::string text = text_of(random() % 24);
    REQUIRE(streamed(stops, random_tokens(random, text)) == cut(stops, text));
  }
}

TEST_CASE("TextStream holds back no more than the longest stop string") {
  TextStream stream({"aaaaaaab"});
  size_t out = 0;
  for (int i = 0; i < 1000; ++i) {
    out += stream.push("a").size();
    CHECK(static_cast<size_t>(i) + 1 - out <= 7);
  }
}
