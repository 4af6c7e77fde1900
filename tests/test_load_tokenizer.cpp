#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/small_bpe.h"
#include "tests/support/spm_model.h"
#include "tests/support/temp_dir.h"
#include "tokenizer/tokenizer.h"

using namespace winnow;
using winnow::test::expect_error;
using winnow::test::small_spm;
using winnow::test::TempDir;
using winnow::test::write_file;

using Ids = std::vector<int32_t>;

TEST_CASE("bos is added by the custom of tokenizer_config.json, else where the file has one") {
  TempDir dir;
  write_file(dir / "tokenizer.model", serialize_spm_file(small_spm({"a"})));
  const auto adds_bos = [&] { return load_tokenizer(dir.path())->adds_bos(); };
  const auto config = [&](std::string_view text) {
    write_file(dir / "tokenizer_config.json", text);
  };
  CHECK(adds_bos());
  config("{}");
  CHECK(adds_bos());
  config(R"({"add_bos_token": null})");
  CHECK(adds_bos());
  config(R"({"add_bos_token": true})");
  CHECK(adds_bos());
  config(R"({"add_bos_token": false})");
  CHECK_FALSE(adds_bos());
  CHECK(load_tokenizer(dir.path())->bos() == 1);
  CHECK(load_tokenizer(dir.path())->stop_ids() == Ids{2});

  for (const std::string_view bad :
       {R"({"add_bos_token": "yes"})", R"({"add_bos_token": 1})", "[]", "", "{"}) {
    config(bad);
    expect_error(ExitCode::kModel, {"tokenizer_config.json"}, adds_bos);
  }
}

TEST_CASE("a tokenizer without bos and eos adds none and stops at none") {
  TempDir dir;
  SpmFile file = small_spm({"a"});
  file.bos = file.eos = -1;
  write_file(dir / "tokenizer.model", serialize_spm_file(file));
  const auto tokenizer = load_tokenizer(dir.path());
  CHECK_FALSE(tokenizer->adds_bos());
  CHECK_FALSE(tokenizer->bos());
  CHECK(tokenizer->stop_ids().empty());
  write_file(dir / "tokenizer_config.json", R"({"add_bos_token": true})");
  expect_error(ExitCode::kModel, {"add_bos_token is true", "no bos"},
               [&] { load_tokenizer(dir.path()); });
}

TEST_CASE("of several tokenizers sentencepiece's comes first, then tokenizer.json") {
  TempDir dir;
  const Json json = test::small_bpe({{"a", "b"}});
  const auto size = [&] { return load_tokenizer(dir.path())->vocab_size(); };
  write_file(dir / "vocab.json", json["model"]["vocab"].dump());
  write_file(dir / "merges.txt", "");
  CHECK(size() == 257);
  write_file(dir / "tokenizer.model", "IQ== 0\nIg== 1\n");  // a rank file, which is not Llama-3's
  expect_error(ExitCode::kModel, {"tokenizer.model", "tiktoken"}, size);
  Json larger = json;
  larger["model"]["vocab"]["zz"] = 257;
  write_file(dir / "tokenizer.json", larger.dump());
  CHECK(size() == 258);
  write_file(dir / "tokenizer.model", serialize_spm_file(small_spm({"a"})));
  CHECK(size() == 260);
  write_file(dir / "tokenizer.model", "version https://git-lfs.github.com/spec/v1\n");
  expect_error(ExitCode::kModel, {"tokenizer.model", "git-LFS"}, size);
}

TEST_CASE("tokenizer_config.json has the last word on BOS and EOS of a tokenizer.json") {
  TempDir dir;
  Json json = test::small_bpe({});
  json["added_tokens"] = {test::added_token("<s>", 256, {{"special", true}}),
                          test::added_token("<e>", 257, {{"special", true}}),
                          test::added_token("<|eot_id|>", 258, {{"special", true}}),
                          test::added_token("<|end_of_text|>", 259, {{"special", true}}),
                          test::added_token("<|eom_id|>", 260)};  // not special: text
  json["model"]["vocab"]["<n>"] = 261;
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}}};
  const auto load = [&](const Json& config) {
    write_file(dir / "tokenizer.json", json.dump());
    write_file(dir / "tokenizer_config.json", config.dump());
    return load_tokenizer(dir.path());
  };
  CHECK(load(Json::object())->bos() == 256);
  CHECK(load(Json::object())->adds_bos());
  CHECK(load(Json::object())->eos() == 259);
  CHECK(load(Json::object())->stop_ids() == Ids{259, 258});
  CHECK_FALSE(load({{"add_bos_token", false}})->adds_bos());
  CHECK(load({{"bos_token", "<e>"}})->bos() == 257);
  CHECK(load({{"eos_token", "<e>"}})->stop_ids() == Ids{257, 258, 259});
  CHECK(load({{"eos_token", {{"content", "<|eot_id|>"}}}})->stop_ids() == Ids{258, 259});
  CHECK(load({{"eos_token", nullptr}, {"bos_token", nullptr}})->eos() == 259);

  // What is named for a purpose is a control token, although tokenizer.json does not say so.
  CHECK_FALSE(load(Json::object())->control_id("<n>"));
  CHECK(load({{"pad_token", "<n>"}})->control_id("<n>") == 261);
  CHECK(load(Json::object())->encode("<|eom_id|>") == Ids{260});
  CHECK(load({{"pad_token", "<|eom_id|>"}})->encode("<|eom_id|>").size() == 10);
  CHECK(load({{"additional_special_tokens", {"<n>"}}})->control_id("<n>") == 261);
  CHECK(load({{"pad_token", "no such token"}})->vocab_size() == 262);

  expect_error(ExitCode::kModel, {"tokenizer_config.json", "eos_token '<x>' is no token"}, [&] {
    load({{"eos_token", "<x>"}});
  });
  expect_error(ExitCode::kModel, {"tokenizer_config.json", "'eos_token'", "number"}, [&] {
    load({{"eos_token", 2}});
  });
  expect_error(ExitCode::kModel, {"tokenizer_config.json: eos_token", "content is missing"}, [&] {
    load({{"eos_token", Json::object()}});
  });
  json.erase("post_processor");
  CHECK_FALSE(load(Json::object())->adds_bos());
  CHECK_FALSE(load(Json::object())->bos());
  expect_error(ExitCode::kModel, {"add_bos_token is true", "no bos"}, [&] {
    load({{"add_bos_token", true}});
  });
}

TEST_CASE("control pieces of sentencepiece are found by their name") {
  TempDir dir;
  write_file(dir / "tokenizer.model", serialize_spm_file(small_spm({"a"})));
  const auto tokenizer = load_tokenizer(dir.path());
  CHECK(tokenizer->control_id("<s>") == 1);
  CHECK(tokenizer->control_id("</s>") == 2);
  CHECK_FALSE(tokenizer->control_id("<unk>"));
  CHECK_FALSE(tokenizer->control_id("a"));
  CHECK_FALSE(tokenizer->control_id("<0x41>"));
}

TEST_CASE("a model directory without a tokenizer that can be read is refused") {
  TempDir dir;
  const auto load = [&] { load_tokenizer(dir.path()); };
  expect_error(ExitCode::kModel, {"has no tokenizer.model"}, load);
  write_file(dir / "tokenizer.json", "{}");
  expect_error(ExitCode::kModel, {"tokenizer.json", "model is missing"}, load);
  write_file(dir / "tokenizer.model", "");
  expect_error(ExitCode::kModel, {"tokenizer.model: is empty"}, load);
  write_file(dir / "tokenizer.model", std::string((16U << 20) + 1, 'x'));
  expect_error(ExitCode::kModel, {"tokenizer.model", "bytes"}, load);
  std::filesystem::remove(dir / "tokenizer.model");
  std::filesystem::create_directory(dir / "tokenizer.model");
  expect_error(ExitCode::kIo, {"tokenizer.model", "directory"}, load);
  expect_error(ExitCode::kIo, {"nowhere"}, [&] { load_tokenizer(dir / "nowhere"); });
}
