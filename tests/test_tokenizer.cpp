#include <doctest/doctest.h>
#include <sentencepiece_processor.h>

#include <chrono>
#include <filesystem>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/utf8.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_text.h"
#include "tests/support/spm_model.h"
#include "tests/support/temp_dir.h"
#include "tokenizer/spm.h"
#include "tokenizer/tokenizer.h"

using namespace winnow;
using winnow::test::append_utf8;
using winnow::test::expect_error;
using winnow::test::repeated;
using winnow::test::small_spm;

namespace {

using Ids = std::vector<int32_t>;

constexpr std::string_view kDemo = "weights/demo";

/// Folders with a tokenizer.model: the bundled one, and others where they are there.
std::vector<std::string> model_dirs() {
  std::vector<std::string> dirs = {std::string(kDemo)};
  for (const std::string name : {"tokenizers/llama2", "tokenizers/mistral",
                                 "tokenizers/tinystories4096", "models/stories260K"}) {
    const std::string dir = "../shared/data/" + name;
    if (std::filesystem::exists(dir)) {
      dirs.push_back(dir);
    } else {
      MESSAGE("skipped, not there: ", dir);
    }
  }
  return dirs;
}

SpmTokenizer tokenizer_of(const SpmFile& file) {
  const std::string bytes = serialize_spm_file(file);
  return {parse_spm_file(std::as_bytes(std::span(bytes)), "t.model"), true, "t.model"};
}

/// Characters of all planes, NUL and spaces among them; not U+2581, which decodes to a space.
std::string random_text(std::mt19937& random, size_t length) {
  static const std::vector<std::string> kWords = {"the", " ", "  ",  " old", "\n",    "\t",
                                                  "ing", ".", "<s>", "</s>", "<unk>", "<0x41>"};
  std::string out;
  for (size_t i = 0; i < length; ++i) {
    const auto kind = static_cast<uint32_t>(random() % 8);
    const uint32_t limit = kind == 0 ? 0x110000 : kind < 3 ? 0x3000 : 0x80;
    const auto code = static_cast<uint32_t>(random() % limit);
    if (kind > 4) {
      out += kWords[random() % kWords.size()];
    } else if ((code < 0xD800 || code > 0xDFFF) && code != 0x2581) {
      append_utf8(out, code);
    }
  }
  return out;
}

/// `text` with invalid bytes as U+FFFD, one for a run of them: the library has one for each byte.
/// With `trim` without spaces in front.
std::string comparable(const std::string& text, bool trim) {
  const std::string valid = utf8_replace_invalid(text);
  const std::string bad = utf8_replace_invalid("\xFF");
  std::string out;
  for (size_t at = trim ? valid.find_first_not_of(' ') : 0; at < valid.size();) {
    const std::string character = valid.substr(at, utf8_length(std::string_view(valid).substr(at)));
    if (character != bad || !out.ends_with(bad)) out += character;
    at += character.size();
  }
  return out;
}

double seconds_to_encode(const Tokenizer& tokenizer, const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = tokenizer.encode(text);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  CHECK(tokenizer.decode(ids) == text);
  return time.count();
}

}  // namespace

TEST_CASE("encode gives the golden ids of Llama-2") {
  const std::string dir = "../shared/data/tokenizers/llama2";
  const std::string golden = "../shared/data/golden/llama-spm";
  if (!std::filesystem::exists(dir) || !std::filesystem::exists(golden + ".inp")) {
    MESSAGE("skipped, not there: ", dir);
    return;
  }
  const auto tokenizer = load_tokenizer(dir);
  const std::vector<std::string> texts =
      test::split(test::read_file(golden + ".inp"), "\n__ggml_vocab_test__\n");
  const std::vector<std::string> lines = test::split(test::read_file(golden + ".out"), "\n");
  REQUIRE(texts.size() == lines.size());
  CHECK(texts.size() >= 46);
  for (size_t i = 0; i < texts.size(); ++i) {
    std::istringstream line(lines[i]);
    const Ids expected{std::istream_iterator<int32_t>(line), {}};
    CAPTURE(texts[i]);
    CHECK(tokenizer->encode(texts[i]) == expected);
    CHECK(tokenizer->decode(expected) == texts[i]);
  }
}

TEST_CASE("text comes back from its ids, whatever it holds") {
  const auto tokenizer = load_tokenizer(kDemo);
  const auto round_trip = [&](const std::string& text) {
    return tokenizer->decode(tokenizer->encode(text));
  };
  for (const std::string text :
       {"", " ", "  ", "\n", "\n\n\n", " a", "a ", "\t x \r\n", "<s>", "</s><unk>", "<0x0A>",
        "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80", "e\xCC\x81", "\xEF\xBB\xBF"}) {
    CHECK(round_trip(text) == text);
  }
  const std::string with_nul("a\0b\0", 4);
  CHECK(round_trip(with_nul) == with_nul);

  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = random_text(random, random() % 40);
    REQUIRE(round_trip(text) == text);
  }
}

TEST_CASE("text that looks like a control token stays text") {
  for (const std::string& dir : model_dirs()) {
    const auto tokenizer = load_tokenizer(dir);
    for (const std::string text : {"<s>", "</s>", "<unk>", "a<s>b</s>"}) {
      for (const int32_t id : tokenizer->encode(text)) CHECK(id > 2);
    }
  }
}

TEST_CASE("encode adds no bos and no eos, and nothing for no text") {
  for (const std::string& dir : model_dirs()) {
    const auto tokenizer = load_tokenizer(dir);
    CHECK(tokenizer->encode("").empty());
    const Ids ids = tokenizer->encode("Hello");
    REQUIRE_FALSE(ids.empty());
    CHECK(ids.front() != *tokenizer->bos());
    CHECK(ids.back() != *tokenizer->eos());
  }
}

TEST_CASE("encode gives the library's ids for the whole text, although it cuts the text") {
  std::mt19937 random(6);
  for (const std::string& dir : model_dirs()) {
    CAPTURE(dir);
    const auto tokenizer = load_tokenizer(dir);
    sentencepiece::SentencePieceProcessor library;
    REQUIRE(library.Load(dir + "/tokenizer.model").ok());
    std::vector<std::string> texts = {
        " ", "   ", " a  b ", "\xE2\x96\x81 \xE2\x96\x81", "a\xE2\x96\x81", "x \xE2\x96\x81 "};
    for (int round = 0; round < 300; ++round) texts.push_back(random_text(random, random() % 30));
    texts.push_back(random_text(random, 100000));
    texts.push_back(repeated("a", 40000));
    texts.push_back(repeated(" ", 40000));
    texts.push_back(repeated("\n \n", 20000));
    texts.push_back(repeated("the quick  brown fox, ", 5000));
    for (const std::string& text : texts) {
      std::vector<int> expected;
      REQUIRE(library.Encode(text, &expected).ok());
      REQUIRE(tokenizer->encode(text) == expected);
    }
  }
}

TEST_CASE("a text is cut only where no piece holds both characters") {
  const SpmFile file = small_spm({"ab",
                                  "\xE2\x96\x81"
                                  "a",
                                  "\xC3\xA9z"});
  const TextCuts cuts(file.pieces);
  CHECK(cuts.next("", 0) == 0);
  CHECK(cuts.next("ab", 0) == 2);
  CHECK(cuts.next("ba", 0) == 1);
  CHECK(cuts.next("aba a", 0) == 2);  // b|a
  CHECK(cuts.next("aba a", 3) == 3);  // a|space, but not space|a
  CHECK(cuts.next("aba a", 4) == 5);
  CHECK(cuts.next("\xC3\xA9z\xC3\xA9", 1) == 3);  // never inside a character
  CHECK(cuts.next("\xFF\xFF", 0) == 1);
  CHECK(cuts.next("ab", 7) == 2);
}

TEST_CASE("decode gives the library's text") {
  std::mt19937 random(7);
  for (const std::string& dir : model_dirs()) {
    CAPTURE(dir);
    const auto tokenizer = load_tokenizer(dir);
    sentencepiece::SentencePieceProcessor library;
    REQUIRE(library.Load(dir + "/tokenizer.model").ok());
    // With remove_extra_whitespaces the library takes a space from each piece until there is text.
    std::vector<int> trimmed;
    REQUIRE(library.Encode(" a", &trimmed).ok());
    const bool trims = tokenizer->decode(trimmed) == "a";
    const auto ours = [&](const Ids& ids) { return comparable(tokenizer->decode(ids), trims); };
    const auto theirs = [&](const Ids& ids) {
      std::string text;
      REQUIRE(library.Decode(ids, &text).ok());
      return comparable(text, trims);
    };
    for (int round = 0; round < 3000; ++round) {
      Ids ids;
      for (size_t n = random() % 12; n > 0; --n) {
        // In all of these files 0..2 are <unk>, <s>, </s>, and 3..258 the bytes.
        const auto limit = random() % 3 == 0 ? 259 : library.GetPieceSize();
        const auto id = static_cast<int32_t>(random() % static_cast<uint32_t>(limit));
        // A control token ends a character of bytes there, but not here.
        if (!library.IsControl(id) || ids.empty() || !library.IsByte(ids.back())) ids.push_back(id);
      }
      REQUIRE(ours(ids) == theirs(ids));
    }
    for (int round = 0; round < 300; ++round) {
      const Ids ids = tokenizer->encode(random_text(random, 20));
      REQUIRE(ours(ids) == theirs(ids));
    }
  }
}

TEST_CASE("decode_piece gives text, byte, surface or nothing by the piece's type") {
  SpmFile file =
      small_spm({"\xE2\x96\x81"
                 "a\xE2\x96\x81\xE2\x96\x81",
                 "\xE2\x96\x81"});
  file.pieces.push_back({"<user>", 0, PieceType::kUserDefined});
  file.pieces.push_back({"gone", 0, PieceType::kUnused});
  const SpmTokenizer tokenizer = tokenizer_of(file);
  const int32_t first = 259;
  CHECK(tokenizer.vocab_size() == 263);
  CHECK(tokenizer.decode_piece(first, false) == " a  ");
  CHECK(tokenizer.decode_piece(first, true) == "a  ");
  CHECK(tokenizer.piece(first) ==
        "\xE2\x96\x81"
        "a\xE2\x96\x81\xE2\x96\x81");
  CHECK(tokenizer.decode_piece(first + 2, true) == "<user>");
  CHECK(tokenizer.decode_piece(first + 3, true) == "gone");
  CHECK(tokenizer.decode_piece(0, true) == " \xE2\x81\x87 ");
  CHECK(tokenizer.decode_piece(1, false).empty());
  CHECK(tokenizer.piece(1) == "<s>");
  CHECK(tokenizer.decode_piece(3 + 0xF0, true) == "\xF0");
  CHECK(tokenizer.decode_piece(3, true) == std::string(1, '\0'));
  CHECK(tokenizer.decode_piece(3 + ' ', true) == " ");
  CHECK(tokenizer.piece(3 + 0x0A) == "<0x0A>");

  const int32_t space = first + 1;
  CHECK(tokenizer.decode(Ids{1, space, first}) == " a  ");  // only one space was put in front
  CHECK(tokenizer.decode(Ids{1, first, 2, first}) == "a   a  ");
  expect_error(ExitCode::kInternal, {"token id 263"}, [&] { tokenizer.decode_piece(263, false); });
  expect_error(ExitCode::kInternal, {"token id -1"}, [&] { tokenizer.piece(-1); });

  file.add_dummy_prefix = false;
  CHECK(tokenizer_of(file).decode_piece(first, true) == " a  ");
}

TEST_CASE("a character in byte pieces streams as one character") {
  const auto tokenizer = load_tokenizer(kDemo);
  const std::string rocket = "\xF0\x9F\x9A\x80";
  const Ids ids = tokenizer->encode(rocket);
  REQUIRE(ids.size() == 4);
  Utf8Stream stream;
  std::string out;
  for (size_t i = 0; i < 3; ++i) out += stream.push(tokenizer->decode_piece(ids[i], i == 0));
  CHECK(out.empty());
  CHECK(stream.push(tokenizer->decode_piece(ids[3], false)) == rocket);
  CHECK(stream.finish().empty());
}

TEST_CASE("without byte pieces, neighbours without a piece are one <unk>, also across parts") {
  std::vector<std::string> texts = {"a", "b", "ab", "\xE2\x96\x81"};
  for (int i = 0; i < 300; ++i) texts.push_back("w" + std::to_string(i));
  SpmFile file = small_spm(texts);
  file.byte_fallback = false;
  file.pieces.erase(file.pieces.begin() + 3, file.pieces.begin() + 259);
  const SpmTokenizer tokenizer = tokenizer_of(file);
  CHECK(tokenizer.encode("ab" + repeated("\xC3\xA9", 100000) + "ab") == Ids{6, 5, 0, 5});
}

TEST_CASE("unigram files encode, and empty or odd vocabularies do not crash") {
  std::vector<std::string> texts = {"a", "b", "ab", "\xE2\x96\x81"};
  SpmFile file = small_spm(texts);
  file.model = SpmModel::kUnigram;
  file.pieces[261].score = 1;  // "ab"
  CHECK(tokenizer_of(file).encode("ab") == Ids{262, 261});
  file.pieces.resize(259);  // only control and byte pieces are left
  expect_error(ExitCode::kModel, {"t.model", "sentencepiece"}, [&] { tokenizer_of(file); });
  file.model = SpmModel::kBpe;
  CHECK(tokenizer_of(file).encode("\n").size() == 4);  // "▁" is three bytes
}

TEST_CASE("user-defined pieces are found first, unused pieces never") {
  SpmFile file = small_spm({"a", "b", "c", "ab", "bc"});
  file.add_dummy_prefix = false;
  CHECK(tokenizer_of(file).encode("abc") == Ids{262, 261});
  file.pieces[263].type = PieceType::kUserDefined;  // "bc"
  CHECK(tokenizer_of(file).encode("abc") == Ids{259, 263});
  file.pieces[262].type = file.pieces[263].type = PieceType::kUnused;
  CHECK(tokenizer_of(file).encode("abc") == Ids{259, 260, 261});
}

TEST_CASE("hostile prompts take seconds at most") {
  // Many times what a loaded machine needs; a quadratic encoder would need hours.
  constexpr double kLimit = 60;
  const auto tokenizer = load_tokenizer(kDemo);
  CHECK(seconds_to_encode(*tokenizer, repeated("a", 1000000)) < kLimit);
  CHECK(seconds_to_encode(*tokenizer, repeated("\n", 1000000)) < kLimit);
  CHECK(seconds_to_encode(*tokenizer, repeated(" ", 5000000)) < kLimit);
  CHECK(seconds_to_encode(*tokenizer, repeated("\xF0\x9F\x91\xA9\xE2\x80\x8D", 1000000)) < kLimit);
}

TEST_CASE("texts too long to encode are refused") {
  const auto tokenizer = load_tokenizer(kDemo);
  expect_error(ExitCode::kPrompt, {"67108865 bytes"},
               [&] { tokenizer->encode(std::string((size_t{64} << 20) + 1, '\n')); });
  // "ss" is a piece, so that no cut is known to be safe.
  expect_error(ExitCode::kPrompt, {"without a place to cut"},
               [&] { tokenizer->encode(std::string((size_t{8} << 20) + 1, 's')); });
}

TEST_CASE("invalid UTF-8 does not crash encode") {
  const auto tokenizer = load_tokenizer(kDemo);
  std::mt19937 random(8);
  for (int round = 0; round < 500; ++round) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() & 0xFF);
    CHECK_NOTHROW(tokenizer->encode(bytes));
  }
  CHECK_NOTHROW(tokenizer->encode(repeated("\x80\xFF\xC3", 50000)));
}
