// What holds for every byte-level BPE, whatever its vocabulary.
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/utf8.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_text.h"
#include "tokenizer/nfc.h"
#include "tokenizer/tokenizer.h"

using namespace winnow;
using winnow::test::expect_error;
using winnow::test::random_unicode;
using winnow::test::repeated;

namespace {

using Ids = std::vector<int32_t>;

// Both without added tokens that take white space along.
constexpr std::string_view kPlain = "tests/fixtures/tokenizers/tekken";
constexpr std::string_view kNfc = "tests/fixtures/tokenizers/digits";  // brings texts to form C

/// The real ones, where they are there.
std::vector<std::string> large_tokenizers() {
  std::vector<std::string> dirs;
  for (const std::string name : {"llama3", "gpt2", "qwen2.5"}) {
    const std::string dir = "../shared/data/tokenizers/" + name;
    if (std::filesystem::exists(dir)) {
      dirs.push_back(dir);
    } else {
      MESSAGE("skipped, not there: ", dir);
    }
  }
  return dirs;
}

double seconds_to_encode(const Tokenizer& tokenizer, const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = tokenizer.encode(text);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  CHECK(tokenizer.decode(ids) == text);
  return time.count();
}

}  // namespace

TEST_CASE("any text comes back from its ids, in form C where the model asks for it") {
  const auto plain = load_tokenizer(kPlain);
  const auto nfc = load_tokenizer(kNfc);
  std::mt19937 random(21);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_unicode(random, random() % 40);
    CAPTURE(text);
    REQUIRE(plain->decode(plain->encode(text)) == text);
    REQUIRE(nfc->decode(nfc->encode(text)) == to_nfc(text));
  }
  for (const std::string& dir : large_tokenizers()) {
    const bool in_form_c = dir.ends_with("qwen2.5");
    const auto tokenizer = load_tokenizer(dir);
    for (int round = 0; round < 3000; ++round) {
      const std::string text = random_unicode(random, random() % 40);
      REQUIRE(tokenizer->decode(tokenizer->encode(text)) == (in_form_c ? to_nfc(text) : text));
    }
  }
}

TEST_CASE("no text becomes a control token") {
  std::vector<std::string> dirs = large_tokenizers();
  for (const auto& entry : std::filesystem::directory_iterator("tests/fixtures/tokenizers")) {
    if (entry.is_directory()) dirs.push_back(entry.path().string());
  }
  for (const std::string& dir : dirs) {
    CAPTURE(dir);
    const auto tokenizer = load_tokenizer(dir);
    std::string all;
    size_t n_controls = 0;
    for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      if (!tokenizer->control_id(tokenizer->piece(id))) continue;
      all += " " + tokenizer->piece(id) + tokenizer->piece(id);
      CHECK(tokenizer->decode_piece(id, true).empty());
      ++n_controls;
    }
    CHECK(n_controls >= 1);
    for (const int32_t id : tokenizer->encode(all)) {
      CHECK_FALSE(tokenizer->control_id(tokenizer->piece(id)));
    }
  }
}

TEST_CASE("added tokens that are no control tokens are found in text") {
  const auto tokenizer = load_tokenizer("tests/fixtures/tokenizers/llama3");
  const Ids ids = tokenizer->encode("a<plain>b");
  CHECK(ids.size() == 3);
  CHECK(tokenizer->piece(ids[1]) == "<plain>");
  CHECK(tokenizer->decode_piece(ids[1], true) == "<plain>");
}

TEST_CASE("invalid UTF-8 is encoded as U+FFFD") {
  const auto tokenizer = load_tokenizer(kPlain);
  CHECK(tokenizer->decode(tokenizer->encode("a\xFF\xC3")) == "a\uFFFD\uFFFD");
  std::mt19937 random(22);
  for (int round = 0; round < 1000; ++round) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() & 0xFF);
    CHECK(tokenizer->decode(tokenizer->encode(bytes)) == utf8_replace_invalid(bytes));
  }
}

TEST_CASE("ids that are none are an error of the program") {
  const auto tokenizer = load_tokenizer(kPlain);
  expect_error(ExitCode::kInternal, {"token id -1"}, [&] { tokenizer->piece(-1); });
  const int32_t size = tokenizer->vocab_size();
  expect_error(ExitCode::kInternal, {"token id"}, [&] { tokenizer->decode_piece(size, true); });
}

TEST_CASE("a character that ends in the middle of a token streams as one character") {
  const auto tokenizer = load_tokenizer(kPlain);
  const std::string rocket = "\U0001F680";
  Utf8Stream stream;
  std::string out;
  for (const int32_t id : tokenizer->encode(rocket)) {
    CHECK(out.empty());
    out += stream.push(tokenizer->decode_piece(id, false));
  }
  CHECK(out == rocket);
}

TEST_CASE("hostile texts are encoded in seconds at most") {
  // Many times what a loaded machine needs; a quadratic encoder would need hours.
  constexpr double kLimit = 60;
  std::vector<std::string> dirs = {std::string(kPlain)};
  for (const std::string& dir : large_tokenizers()) dirs.push_back(dir);
  for (const std::string& dir : dirs) {
    CAPTURE(dir);
    const auto tokenizer = load_tokenizer(dir);
    for (const std::string_view part : {"a", " ", "\n", "<", "1", "Aa", "<|eot_id|"}) {
      CAPTURE(std::string(part));
      CHECK(seconds_to_encode(*tokenizer, repeated(part, 300'000 / part.size())) < kLimit);
    }
  }
  const auto tokenizer = load_tokenizer(dirs.back());
  CHECK(seconds_to_encode(*tokenizer, std::string(3'000'000, 'a')) < kLimit);
  CHECK(seconds_to_encode(*tokenizer, std::string(3'000'000, ' ')) < kLimit);
}

TEST_CASE("texts of more than 64 MiB are refused") {
  const auto tokenizer = load_tokenizer(kPlain);
  expect_error(ExitCode::kPrompt, {"67108865 bytes"},
               [&] { tokenizer->encode(std::string((size_t{64} << 20) + 1, '\n')); });
}
