// Needles in a haystack, taken out of the samples again and compared with what was asked for.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "src/eval/needle.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/expect_error.h"

namespace winnow::test {
namespace {

using Strings = std::vector<std::string>;

constexpr int64_t kFar = 128;  // tokens that a needle may move to the end of a sentence

NeedleWords few_words() {
  return {.adjectives = {"red", "dark", "tiny"},
          .nouns = {"fox", "castle", "owl"},
          .values = {"sun", "meadow", "tea", "x"}};
}

/// Words with which every fact and every question has the same length.
NeedleWords even_words() {
  return {.adjectives = {"red"}, .nouns = {"fox", "owl"}, .values = {"sun", "tea"}};
}

const std::string kEvenFact = "\nThe secret name of the red fox is sun tea sun.\n";
const std::string kEvenQuestion = "\nQuestion: What is the secret name of the red fox?\nAnswer:";

/// `n` lines that differ, of one to three short sentences.
std::string lines(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) {
    text += "Line " + std::to_string(i) + " begins here.";
    if (i % 2 == 0) text += " Is it long? No!";
    if (i % 3 == 0) text += " It has number " + std::to_string(i * i) + " in it.";
    text += '\n';
  }
  return text;
}

/// `n` words that differ, without a line's or a sentence's end.
std::string one_line(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += "w" + std::to_string(i) + (i % 7 == 0 ? ", " : " ");
  return text;
}

EvalSample draw(const std::string& haystack, const NeedleOptions& options, int64_t length,
                int64_t i = 0, const NeedleWords& words = few_words()) {
  const ByteTokenizer tokenizer;
  return NeedleMaker(tokenizer, haystack, words, options).sample(length, i);
}

struct Fact {
  int64_t at;  // bytes of the haystack before it
  std::string key;
  std::string value;
};

/// A sample that was taken apart.
struct Parts {
  std::string window;  // what is from the haystack
  std::vector<Fact> facts;
  std::string asked;  // the key in the question
};

/// Everything between `begin` and `end`, where both follow at `at`; moves `at` behind them.
std::string between(const std::string& text, size_t& at, const std::string& begin,
                    const std::string& end) {
  REQUIRE(text.compare(at, begin.size(), begin) == 0);
  const size_t from = at + begin.size();
  const size_t to = text.find(end, from);
  REQUIRE(to != std::string::npos);
  at = to + end.size();
  return text.substr(from, to - from);
}

Parts take_apart(const EvalSample& sample) {
  std::vector<int32_t> ids = sample.first;
  ids.insert(ids.end(), sample.then.begin(), sample.then.end());
  const std::string text = ByteTokenizer().decode(ids);
  const std::string fact = "\nThe secret name of ";
  const std::string question = "\nQuestion: What is the secret name of ";
  Parts parts;
  size_t at = 0;
  while (true) {
    const size_t next = std::min(text.find(fact, at), text.find(question, at));
    REQUIRE(next != std::string::npos);
    parts.window += text.substr(at, next - at);
    at = next;
    if (text.compare(at, question.size(), question) == 0) break;
    const std::string key = between(text, at, fact, " is ");
    const std::string value = between(text, at, "", ".\n");
    parts.facts.push_back({std::ssize(parts.window), key, value});
  }
  parts.asked = between(text, at, question, "?\nAnswer:");
  CHECK(at == text.size());
  return parts;
}

/// The fact that is asked for, which must be there once.
Fact asked_fact(const Parts& parts) {
  const auto is_asked = [&](const Fact& fact) { return fact.key == parts.asked; };
  REQUIRE(std::ranges::count_if(parts.facts, is_asked) == 1);
  return *std::ranges::find_if(parts.facts, is_asked);
}

/// Where a fact belongs that was to stand before byte `at` of the window: behind the last sentence
/// or line that ends in the kFar bytes before, or else at `at` itself.
int64_t expected_place(const std::string& window, int64_t at) {
  const size_t end =
      at == 0 ? std::string::npos : window.find_last_of(".!?\n", static_cast<size_t>(at - 1));
  if (end == std::string::npos) return at;
  const int64_t place = static_cast<int64_t>(end) + 1;
  return at - place <= kFar ? place : at;
}

Strings words_of(const std::string& text) {
  Strings words(1);
  for (const char c : text) {
    if (c == ' ') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

bool holds(const Strings& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

/// All that must be true of a sample, whatever the haystack.
void check_sample(const EvalSample& sample, const std::string& haystack,
                  const NeedleOptions& options, int64_t length) {
  CHECK(sample.tokens() == length);
  CHECK(sample.length == length);
  const auto n_bos = std::ranges::count(sample.first, ByteTokenizer::kBos);
  CHECK(n_bos == (options.bos ? 1 : 0));
  if (options.bos) CHECK(sample.first.front() == ByteTokenizer::kBos);
  const Parts parts = take_apart(sample);
  CHECK(haystack.find(parts.window) != std::string::npos);
  REQUIRE(std::ssize(parts.facts) == options.needles);
  std::set<std::string> keys;
  for (const Fact& fact : parts.facts) keys.insert(fact.key);
  CHECK(std::ssize(keys) == options.needles);
  const Fact asked = asked_fact(parts);
  REQUIRE(sample.depth.has_value());
  const auto n = std::ssize(parts.window);
  CHECK(asked.at == expected_place(parts.window, std::llround(*sample.depth * double(n))));
  CHECK(sample.answers == Strings{asked.value});
}

TEST_CASE("needle: a sample has exactly its length, and the haystack is whole but for the facts") {
  const std::string haystack = lines(400);
  for (const int64_t needles : {1, 2, 9}) {
    for (const bool bos : {true, false}) {
      const NeedleOptions options{.needles = needles, .depths = 5, .bos = bos};
      const ByteTokenizer tokenizer;
      const NeedleMaker maker(tokenizer, haystack, few_words(), options);
      for (int64_t length = 700; length < 12000; length += 1 + length / 9) {
        CAPTURE(needles);
        CAPTURE(length);
        for (int64_t i = 0; i < 7; ++i) {
          check_sample(maker.sample(length, i), haystack, options, length);
        }
      }
    }
  }
}

TEST_CASE("needle: haystacks without lines, without sentences, and of long characters") {
  std::string wide;
  for (int i = 0; i < 900; ++i) wide += "東京ë🦊" + std::to_string(i);
  std::string sparse;  // an end every 300 bytes: for some depths one is near, for others none
  for (int i = 0; i < 40; ++i) {
    sparse += std::to_string(1000 + i) + std::string(295, 'x') + (i % 2 == 0 ? "." : "\n");
  }
  for (const std::string& haystack : {one_line(2000), wide, sparse, std::string(9000, ' ')}) {
    for (const bool bos : {true, false}) {
      const NeedleOptions options{.needles = 3, .depths = 11, .bos = bos};
      for (int64_t i = 0; i < 22; ++i) {
        check_sample(draw(haystack, options, 4000, i), haystack, options, 4000);
      }
    }
  }
}

TEST_CASE("needle: the words of a fact are those of the lists, as many as asked for") {
  for (const int64_t answer_words : {1, 3, 20}) {
    const NeedleOptions options{.needles = 4, .answer_words = answer_words};
    const Parts parts = take_apart(draw(lines(100), options, 2500));
    for (const Fact& fact : parts.facts) {
      const Strings key = words_of(fact.key);
      REQUIRE(key.size() == 3);
      CHECK(key[0] == "the");
      CHECK(holds(few_words().adjectives, key[1]));
      CHECK(holds(few_words().nouns, key[2]));
      CHECK(std::ssize(words_of(fact.value)) == answer_words);
      for (const std::string& word : words_of(fact.value)) CHECK(holds(few_words().values, word));
    }
  }
}

TEST_CASE("needle: what is asked, and when an answer ends") {
  const EvalSample sample = draw(lines(100), {}, 1234, 7);
  CHECK(sample.task == "needle");
  CHECK(sample.id == "1234/7");
  CHECK(sample.metric == Metric::kContains);
  CHECK(sample.stop == Strings{"\n", "."});
  // " VALUE." and 8 tokens more.
  CHECK(sample.max_tokens == std::ssize(sample.answers.at(0)) + 2 + 8);
}

TEST_CASE("needle: depths take turns, evenly from 0 to 1") {
  const auto depths_of = [](int64_t depths) {
    std::vector<double> all;
    for (int64_t i = 0; i < 2 * depths; ++i) {
      all.push_back(draw(lines(50), {.depths = depths}, 800, i).depth.value());
    }
    return all;
  };
  CHECK(depths_of(1) == std::vector{0.5, 0.5});
  CHECK(depths_of(2) == std::vector{0.0, 1.0, 0.0, 1.0});
  CHECK(depths_of(5) == std::vector{0.0, 0.25, 0.5, 0.75, 1.0, 0.0, 0.25, 0.5, 0.75, 1.0});
  CHECK(depths_of(11)[3] == doctest::Approx(0.3));
}

TEST_CASE("needle: depth 0 is right behind BOS, depth 1 right before the question") {
  const std::string haystack = one_line(1000);
  const NeedleOptions options{.depths = 2};
  const Parts first = take_apart(draw(haystack, options, 1000, 0));
  CHECK(asked_fact(first).at == 0);
  const Parts last = take_apart(draw(haystack, options, 1000, 1));
  CHECK(asked_fact(last).at == std::ssize(last.window));
}

TEST_CASE("needle: a fact moves back to a sentence's end at most kFar tokens before") {
  // Depth 1, the haystack is used to its last byte, and so many x follow on its only end.
  const NeedleOptions options{.depths = 2, .bos = false};
  for (const std::string until : {".", "!", "?", "\n", "ooo.", "東."}) {
    for (const int64_t after : {int64_t{0}, int64_t{1}, kFar - 1, kFar, kFar + 1, 2 * kFar}) {
      CAPTURE(until);
      CAPTURE(after);
      const std::string text = until + std::string(static_cast<size_t>(after), 'x');
      const int64_t length = std::ssize(text) + std::ssize(kEvenFact) + std::ssize(kEvenQuestion);
      const Parts parts = take_apart(draw(text, options, length, 1, even_words()));
      CHECK(parts.window == text);
      CHECK(asked_fact(parts).at == std::ssize(until) + (after <= kFar ? 0 : after));
    }
  }
}

TEST_CASE("needle: the needles that nobody asks for are all over the text") {
  const NeedleOptions options{.needles = 5, .depths = 1};
  int64_t quarters[4] = {};
  for (int64_t i = 0; i < 100; ++i) {
    const Parts parts = take_apart(draw(lines(200), options, 4000, i));
    for (const Fact& fact : parts.facts) {
      if (fact.key == parts.asked) continue;
      CHECK(expected_place(parts.window, fact.at) == fact.at);  // a sentence ends there
      ++quarters[std::min<int64_t>(3, 4 * fact.at / std::ssize(parts.window))];
    }
  }
  for (const int64_t n : quarters) CHECK(n > 70);  // 100 of 400 each; deviation 9
}

TEST_CASE("needle: windows begin where a line does, at any line that leaves room") {
  std::string haystack;  // 40 lines of 25 bytes
  for (int i = 0; i < 40; ++i) haystack += std::to_string(100 + i) + "-----. !---------?---" + '\n';
  std::set<size_t> starts;
  for (int64_t i = 0; i < 800; ++i) {
    const Parts parts = take_apart(draw(haystack, {.depths = 1}, 1000, i));
    const size_t start = haystack.find(parts.window);
    REQUIRE(start != std::string::npos);
    // The last window that fits may begin anywhere.
    if (start + parts.window.size() < haystack.size()) CHECK(start % 25 == 0);
    starts.insert(start / 25);
  }
  CHECK(*starts.begin() == 0);
  CHECK(starts.size() >= 4);
}

TEST_CASE("needle: a sample depends on seed, length and number alone") {
  const std::string haystack = lines(200);
  const ByteTokenizer tokenizer;
  const NeedleMaker maker(tokenizer, haystack, few_words(), {.answer_words = 9, .seed = 7});
  const EvalSample sample = maker.sample(2000, 4);
  for (int64_t i = 0; i < 9; ++i) maker.sample(1000 + i, i);
  CHECK(maker.sample(2000, 4).first == sample.first);
  CHECK(draw(haystack, {.answer_words = 9, .seed = 7}, 2000, 4).first == sample.first);
  // 14 is at the same depth.
  CHECK(maker.sample(2000, 14).depth == sample.depth);
  CHECK(maker.sample(2000, 14).first != sample.first);
  CHECK(draw(haystack, {.answer_words = 9, .seed = 8}, 2000, 4).first != sample.first);
  CHECK(maker.sample(2001, 4).answers != sample.answers);
}

TEST_CASE("needle: answers and windows hardly ever come again in other samples") {
  const NeedleOptions options{.answer_words = 8};
  std::set<std::string> answers, windows;
  for (int64_t i = 0; i < 100; ++i) {
    const EvalSample sample = draw(one_line(4000), options, 1000, i);
    answers.insert(sample.answers.at(0));
    windows.insert(take_apart(sample).window);
  }
  CHECK(answers.size() > 95);  // of 4^8
  CHECK(windows.size() > 95);
}

TEST_CASE("needle: a question that is not seen comes after, and nothing else changes") {
  const std::string haystack = lines(200);
  for (const bool bos : {true, false}) {
    NeedleOptions options{.needles = 2, .bos = bos};
    const EvalSample seen = draw(haystack, options, 3000, 3);
    options.question = QuestionSeen::kAfter;
    const EvalSample unseen = draw(haystack, options, 3000, 3);
    CHECK(seen.then.empty());
    CHECK(ByteTokenizer().decode(unseen.then) ==
          "\nQuestion: What is the secret name of " + take_apart(seen).asked + "?\nAnswer:");
    std::vector<int32_t> all = unseen.first;
    all.insert(all.end(), unseen.then.begin(), unseen.then.end());
    CHECK(all == seen.first);
    CHECK(unseen.answers == seen.answers);
    CHECK(unseen.depth == seen.depth);
    check_sample(unseen, haystack, options, 3000);
  }
}

TEST_CASE("needle: a haystack of exactly the tokens that are needed, and one with a token less") {
  const NeedleOptions options{.needles = 2, .depths = 3};
  const std::string text = lines(30);
  const int64_t length = 1 + std::ssize(text + kEvenFact + kEvenFact + kEvenQuestion);
  for (int64_t i = 0; i < 6; ++i) {
    const EvalSample sample = draw(text, options, length, i, even_words());
    check_sample(sample, text, options, length);
    CHECK(take_apart(sample).window == text);
    const std::string needed = std::to_string(text.size());
    expect_error(ExitCode::kPrompt,
                 {"the haystack has " + std::to_string(text.size() - 1) + " tokens",
                  "a prompt of " + std::to_string(length) + " takes " + needed},
                 [&] { draw(text.substr(1), options, length, i, even_words()); });
  }
}

TEST_CASE("needle: a length that has room for fact and question only, and one less") {
  const int64_t least = 1 + std::ssize(kEvenFact + kEvenQuestion);
  for (const std::string text : {"x.\ny", ""}) {
    EvalSample sample = draw(text, {}, least, 9, even_words());
    CHECK(sample.tokens() == least);
    CHECK(take_apart(sample).window.empty());
    sample = draw(text, {.bos = false}, least - 1, 9, even_words());
    CHECK(sample.tokens() == least - 1);
    for (const int64_t length : {least - 1, int64_t{1}}) {
      expect_error(ExitCode::kPrompt,
                   {"a prompt of " + std::to_string(length) + " tokens has no room for 1 needle",
                    "which take " + std::to_string(least)},
                   [&] { draw(text, {}, length, 9, even_words()); });
    }
  }
  CHECK(take_apart(draw("x.\ny", {}, least + 4, 0, even_words())).window == "x.\ny");
  expect_error(ExitCode::kPrompt, {"the haystack has 0 tokens", "takes 1 of it"},
               [&] { draw("", {}, least + 1, 0, even_words()); });
}

TEST_CASE("needle: as many needles as there are keys, and one more") {
  NeedleWords words{.adjectives = {"red", "dark"}, .nouns = {"fox", "owl"}, .values = {"sun"}};
  const auto keys = [&] {
    std::set<std::string> all;
    const EvalSample sample = draw(lines(50), {.needles = 4}, 900, 0, words);
    for (const Fact& fact : take_apart(sample).facts) all.insert(fact.key);
    return all;
  };
  const std::set<std::string> four = {"the red fox", "the red owl", "the dark fox", "the dark owl"};
  CHECK(keys() == four);
  const auto refused = [&] {
    expect_error(ExitCode::kUsage, {"--needles 5", "only 4 different keys"},
                 [&] { draw(lines(50), {.needles = 5}, 900, 0, words); });
  };
  refused();
  // A word that is listed twice makes no more keys.
  words.nouns = {"fox", "owl", "fox"};
  words.adjectives = {"red", "dark", "dark"};
  CHECK(keys() == four);
  refused();
}

}  // namespace
}  // namespace winnow::test
