// vocab.json with merges.txt, and what tokenizer_config.json says about them.
#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/small_bpe.h"
#include "tests/support/temp_dir.h"
#include "tokenizer/bpe_files.h"
#include "tokenizer/split_patterns.h"
#include "tokenizer/tokenizer.h"

using namespace winnow;
using winnow::test::added_token;
using winnow::test::expect_error;
using winnow::test::small_bpe;
using winnow::test::TempDir;
using winnow::test::write_file;

namespace {

using Ids = std::vector<int32_t>;

constexpr std::string_view kMerges = "#version: 0.2\na b\nab c\n\u0120 abc\n";

/// A folder with both files, to which tests add.
struct Files {
  Files() {
    Json json = small_bpe({{"a", "b"}, {"ab", "c"}, {" ", "abc"}});
    vocab = json["model"]["vocab"];
    vocab["<|endoftext|>"] = 259;
    write_file(dir / "vocab.json", vocab.dump());
    write_file(dir / "merges.txt", kMerges);
  }
  void config(const Json& json) const { write_file(dir / "tokenizer_config.json", json.dump()); }
  std::unique_ptr<Tokenizer> load() const { return load_tokenizer(dir.path()); }

  TempDir dir;
  Json vocab;
};

}  // namespace

TEST_CASE("without a tokenizer_config.json the files are GPT-2's") {
  const Files files;
  const auto tokenizer = files.load();
  CHECK(tokenizer->vocab_size() == 260);
  CHECK(tokenizer->encode("abc abc12") == Ids{257, 258, '1', '2'});
  CHECK(tokenizer->encode("e\u0301") == Ids{'e', 0xCC, 0x81});
  CHECK(tokenizer->bos() == 259);
  CHECK(tokenizer->eos() == 259);
  CHECK_FALSE(tokenizer->adds_bos());
  CHECK(tokenizer->stop_ids() == Ids{259});
  CHECK(tokenizer->control_id("<|endoftext|>") == 259);
  const Ids ids = tokenizer->encode("<|endoftext|>");
  CHECK(ids.size() == 13);
  CHECK(tokenizer->decode(ids) == "<|endoftext|>");
}

TEST_CASE("GPT-2's first names of the files are known, too") {
  const Files files;
  std::filesystem::rename(files.dir / "vocab.json", files.dir / "encoder.json");
  expect_error(ExitCode::kModel, {"has no tokenizer.model", "vocab.json", "encoder.json"},
               [&] { files.load(); });
  std::filesystem::rename(files.dir / "merges.txt", files.dir / "vocab.bpe");
  CHECK(files.load()->encode("abc") == Ids{257});
}

TEST_CASE("tokenizer_class says whose files they are") {
  const Files files;
  for (const std::string name : {"Qwen2Tokenizer", "Qwen2TokenizerFast"}) {
    files.config({{"tokenizer_class", name}});
    const auto tokenizer = files.load();
    CHECK(tokenizer->encode("e\u0301") == Ids{0xC3, 0xA9});
    CHECK_FALSE(tokenizer->bos());
    CHECK(tokenizer->eos() == 259);
  }
  files.config({{"tokenizer_class", "GPT2Tokenizer"}});
  CHECK(files.load()->bos() == 259);
  files.config({{"tokenizer_class", "LlamaTokenizer"}});
  expect_error(ExitCode::kModel, {"tokenizer_config.json", "'LlamaTokenizer'", "not supported"},
               [&] { files.load(); });
  files.config({{"tokenizer_class", 1}});
  expect_error(ExitCode::kModel, {"'tokenizer_class'", "number"}, [&] { files.load(); });
}

TEST_CASE("added tokens come from tokenizer_config.json") {
  const Files files;
  Json stripped = added_token("<t>", 0, {{"lstrip", true}});
  stripped.erase("id");
  files.config({{"added_tokens_decoder",
                 {{"261", {{"content", "<|im_end|>"}, {"special", true}}}, {"262", stripped}}},
                {"eos_token", "<|im_end|>"}});
  const auto tokenizer = files.load();
  CHECK(tokenizer->vocab_size() == 263);
  CHECK(tokenizer->control_id("<|im_end|>") == 261);
  CHECK(tokenizer->encode("a  <t>") == Ids{'a', 262});
  CHECK(tokenizer->eos() == 261);
  CHECK(tokenizer->stop_ids() == Ids{261});

  for (const std::string key : {"", "x", "1x", "-1", "99999999999999999999", "0x10", "+1", " 1"}) {
    files.config({{"added_tokens_decoder", {{key, {{"content", "<u>"}}}}}});
    expect_error(ExitCode::kModel, {"tokenizer_config.json"}, [&] { files.load(); });
  }
  files.config({{"added_tokens_decoder", {{"97", {{"content", "<u>"}}}}}});
  expect_error(ExitCode::kModel, {"id 97 is given twice"}, [&] { files.load(); });
}

TEST_CASE("vocab.json and merges.txt that are malformed are refused by line or merge") {
  const Files files;
  const auto refused = [&](std::string_view name, std::string_view text,
                           std::initializer_list<std::string_view> parts) {
    const std::string before = test::read_file(files.dir / name);
    write_file(files.dir / name, text);
    expect_error(ExitCode::kModel, parts, [&] { files.load(); });
    write_file(files.dir / name, before);
  };
  refused("merges.txt", "a b\nabc\n", {"merges.txt:2: 'abc'", "two pieces"});
  refused("merges.txt", "a b\nab c d\n", {"merges.txt:2: 'ab c d'"});
  refused("merges.txt", "a b\nab  c\n", {"merges.txt:2"});
  refused("merges.txt", "a b\n\n#version\n", {"merges.txt:3"});
  refused("merges.txt", "a b\na q\n", {"merges.txt: merge 1", "'aq' is no piece"});
  refused("merges.txt", "a b\r\n", {"merges.txt: merge 0", "'b\\x0d' is no piece"});
  refused("merges.txt", "a b\na b\n", {"'a' and 'b' is there twice"});
  refused("vocab.json", "{}", {"merge 0", "'a' is no piece"});
  refused("vocab.json", "[]", {"vocab.json", "object"});
  refused("vocab.json", "{\"a\": 1, \"a\": 2}", {"vocab.json", "duplicate key"});
  refused("vocab.json", "{\"a\": \"1\"}", {"vocab.json: 'a'", "integer"});
  Json vocab = files.vocab;
  vocab.erase("<");
  refused("vocab.json", vocab.dump(), {"byte 60"});
}

TEST_CASE("merges.txt needs no first line and no last line end") {
  const Files files;
  write_file(files.dir / "merges.txt", "a b\nab c");
  CHECK(files.load()->encode("abc") == Ids{257});
  write_file(files.dir / "merges.txt", "");
  CHECK(files.load()->encode("abc") == Ids{'a', 'b', 'c'});
}
