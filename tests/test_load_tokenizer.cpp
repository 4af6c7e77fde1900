#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/expect_error.h"
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

TEST_CASE("a model directory without a tokenizer that can be read is refused") {
  TempDir dir;
  const auto load = [&] { load_tokenizer(dir.path()); };
  expect_error(ExitCode::kModel, {"has no tokenizer.model"}, load);
  write_file(dir / "tokenizer.json", "{}");
  expect_error(ExitCode::kModel, {"tokenizer.json", "need tokenizer.model"}, load);
  write_file(dir / "tokenizer.model", "");
  expect_error(ExitCode::kModel, {"tokenizer.model: is empty"}, load);
  write_file(dir / "tokenizer.model", std::string((16U << 20) + 1, 'x'));
  expect_error(ExitCode::kModel, {"tokenizer.model", "bytes"}, load);
  std::filesystem::remove(dir / "tokenizer.model");
  std::filesystem::create_directory(dir / "tokenizer.model");
  expect_error(ExitCode::kIo, {"tokenizer.model", "directory"}, load);
  expect_error(ExitCode::kIo, {"nowhere"}, [&] { load_tokenizer(dir / "nowhere"); });
}
