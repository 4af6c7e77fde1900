#include <doctest/doctest.h>

#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer.h"

using namespace winnow;
using winnow::test::expect_error;
using winnow::test::TempDir;
using winnow::test::write_file;

namespace {

using Ids = std::vector<int32_t>;

/// Bytes have their own numbers as ranks; `longer` follow.
std::vector<std::string> pieces_with(const std::vector<std::string>& longer) {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  pieces.insert(pieces.end(), longer.begin(), longer.end());
  return pieces;
}

BpeTokenizer tokenizer_with(const std::vector<std::string>& longer) {
  return BpeTokenizer(llama3_model(pieces_with(longer), "t.model"));
}

}  // namespace

TEST_CASE("a rank file is read line by line, its pieces from base64") {
  using Pieces = std::vector<std::string>;
  CHECK(parse_rank_file("IQ== 0\nIg== 1\n", "t") == Pieces{"!", "\""});
  CHECK(parse_rank_file("aGVsbG8= 1\nAAEC 0", "t") == Pieces{std::string("\0\1\2", 3), "hello"});
  CHECK(parse_rank_file("/+8= 0\n", "t") == Pieces{"\xFF\xEF"});
  CHECK(parse_rank_file("", "t").empty());
}

TEST_CASE("lines that are no piece and its rank are refused by number") {
  for (const std::string_view line :
       {"", "IQ==", "IQ== ", "IQ== x", "IQ== 1x", "IQ== -1", "IQ==  1", " 1", "I 1", "IQ= 1",
        "IQ 1", "I=== 1", "I?== 1", "IQ==IQ== 1", "==== 1", "IQ== 1 2", "IQ==\t1",
        "IQ== 99999999999999999999", "IQ== +1"}) {
    CAPTURE(std::string(line));
    expect_error(ExitCode::kModel, {"t.model:2"},
                 [&] { parse_rank_file("Ig== 0\n" + std::string(line) + "\n", "t.model"); });
  }
}

TEST_CASE("ranks are each there once, from 0 on") {
  expect_error(ExitCode::kModel, {"t:2", "rank is there twice"},
               [] { parse_rank_file("IQ== 0\nIg== 0\n", "t"); });
  expect_error(ExitCode::kModel, {"t: 1 of 3 ranks are missing"},
               [] { parse_rank_file("IQ== 0\nIg== 2\n", "t"); });
  expect_error(ExitCode::kModel, {"t:1", "without the ones before it"},
               [] { parse_rank_file("IQ== 4000000000\n", "t"); });
  std::string longest;
  for (int i = 0; i < 86; ++i) longest += "AAAA";
  expect_error(ExitCode::kModel, {"t:1", "258 bytes"},
               [&] { parse_rank_file(longest + " 0\n", "t"); });
}

TEST_CASE("a rank file is told by its first line") {
  CHECK(is_rank_file("IQ== 0\nIg== 1\n"));
  CHECK(is_rank_file("IQ== 0"));
  CHECK_FALSE(is_rank_file(""));
  CHECK_FALSE(is_rank_file("\n\x0D\n\x05<unk>"));  // sentencepiece
  CHECK_FALSE(is_rank_file("version https://git-lfs.github.com/spec/v1\n"));
  CHECK_FALSE(is_rank_file("{\"model\": 1}"));
}

TEST_CASE("neighbours that are a piece together are joined, the lowest rank first") {
  // 256 "bc", 257 "ab", 258 "abcd", 259 "cd", 260 "xyz"
  const BpeTokenizer tokenizer = tokenizer_with({"bc", "ab", "abcd", "cd", "xyz"});
  CHECK(tokenizer.encode("ab") == Ids{257});
  CHECK(tokenizer.encode("abc") == Ids{'a', 256});
  CHECK(tokenizer.encode("abcde") == Ids{'a', 256, 'd', 'e'});
  CHECK(tokenizer.encode("abcd") == Ids{258});  // whole, although no merge leads there
  CHECK(tokenizer.encode("xyz") == Ids{260});   // has no two parts that are pieces
  CHECK(tokenizer.encode("xyzz") == Ids{'x', 'y', 'z', 'z'});
  CHECK(tokenizer.piece(256) == "bc");
  CHECK(tokenizer.piece(' ') == "\u0120");
}

TEST_CASE("Llama-3's 256 control tokens follow the pieces") {
  BpeModel model = llama3_model(pieces_with({"ab"}), "t.model");
  CHECK(model.adds_bos);
  const BpeTokenizer tokenizer(std::move(model));
  CHECK(tokenizer.vocab_size() == 257 + 256);
  CHECK(tokenizer.control_id("<|begin_of_text|>") == 257);
  CHECK(tokenizer.control_id("<|end_of_text|>") == 258);
  CHECK(tokenizer.control_id("<|start_header_id|>") == 263);
  CHECK(tokenizer.control_id("<|end_header_id|>") == 264);
  CHECK(tokenizer.control_id("<|eom_id|>") == 265);
  CHECK(tokenizer.control_id("<|eot_id|>") == 266);
  CHECK(tokenizer.control_id("<|python_tag|>") == 267);
  CHECK(tokenizer.piece(512) == "<|reserved_special_token_247|>");
}

TEST_CASE("pieces that are there twice, or bytes that are not, are refused") {
  expect_error(ExitCode::kModel, {"t.model", "'ab' is there twice"}, [] {
    tokenizer_with({"ab", "ab"});
  });
  std::vector<std::string> pieces = pieces_with({});
  pieces['q'] = "qq";
  expect_error(ExitCode::kModel, {"t.model", "byte 113"}, [&] { llama3_model(pieces, "t.model"); });
}

TEST_CASE("a model directory's rank file must be Llama-3's") {
  TempDir dir;
  write_file(dir / "tokenizer.model", "IQ== 0\nIg== 1\n");
  expect_error(ExitCode::kModel, {"tokenizer.model", "2 pieces", "128000"},
               [&] { load_tokenizer(dir.path()); });
  write_file(dir / "tokenizer.model", "IQ== 0\nIg==\n");
  expect_error(ExitCode::kModel, {"tokenizer.model:2"}, [&] { load_tokenizer(dir.path()); });
}

TEST_CASE("Llama-3's own file is loaded with its BOS and its stop ids") {
  const std::string dir = "../shared/data/tokenizers/llama3";
  if (!std::filesystem::exists(dir)) {
    MESSAGE("skipped, not there: ", dir);
    return;
  }
  const auto tokenizer = load_tokenizer(dir);
  CHECK(tokenizer->vocab_size() == 128256);
  CHECK(tokenizer->bos() == 128000);
  CHECK(tokenizer->eos() == 128001);
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->stop_ids() == Ids{128001, 128009, 128008});
  CHECK(tokenizer->control_id("<|start_header_id|>") == 128006);
}

TEST_CASE("random damage to a rank file never does more than throw") {
  std::string whole;
  for (int byte = 0; byte < 64; ++byte) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    whole += "A";
    whole += kDigits[static_cast<size_t>(byte)];
    whole += "AA " + std::to_string(byte) + "\n";
  }
  CHECK(parse_rank_file(whole, "t").size() == 64);
  std::mt19937 random(32);
  size_t n_accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    const size_t at = random() % text.size();
    if (random() % 2 == 0) {
      text[at] = static_cast<char>(random() & 0xFF);
    } else {
      text.erase(at, 1 + random() % 8);
    }
    try {
      const std::vector<std::string> pieces = parse_rank_file(text, "t");
      CHECK(pieces.size() <= 64);
      ++n_accepted;
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::kModel);
    }
  }
  CHECK(n_accepted > 0);
  CHECK(n_accepted < 2000);
}
