// Files that say which KV heads stream.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string>

#include "src/kv/head_mask.h"
#include "tests/support/expect_error.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temp_dir.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// Two layers of three KV heads.
ModelConfig config_of_six() {
  ModelConfig config;
  config.n_layers = 2;
  config.n_kv_heads = 3;
  return config;
}

std::vector<uint8_t> parsed(const std::string& text, double threshold = 0.5) {
  return parse_head_mask(text, "m.tsv", config_of_six(), threshold);
}

void refuse(const std::string& text, std::initializer_list<std::string_view> parts) {
  CAPTURE(text);
  expect_error(ExitCode::kModel, {"m.tsv: "}, [&] { parsed(text); });
  expect_error(ExitCode::kModel, parts, [&] { parsed(text); });
}

}  // namespace

TEST_CASE("head masks: a head is full where its number reaches the threshold") {
  const std::string text = "1\t0\t0.5\n0.499\t1e-3\t0.70000000000000000000\n";
  CHECK(parsed(text) == std::vector<uint8_t>{1, 0, 1, 0, 0, 1});
  CHECK(parsed(text, 0) == std::vector<uint8_t>(6, 1));
  CHECK(parsed(text, 1) == std::vector<uint8_t>{1, 0, 0, 0, 0, 0});
  CHECK(parsed(text, 0.001) == std::vector<uint8_t>{1, 0, 1, 1, 1, 1});
}

TEST_CASE("head masks: lines may end as they do on any system, and empty ones may follow") {
  const std::vector<uint8_t> full = {1, 0, 1, 0, 1, 1};
  CHECK(parsed("1\t0\t1\n0\t1\t1") == full);
  CHECK(parsed("1\t0\t1\r\n0\t1\t1\r\n") == full);
  CHECK(parsed("1.0\t0.0\t1.0\n0.0\t1.0\t1.0\n\n\r\n\n") == full);
}

TEST_CASE("head masks: what is none is refused, and where it is not") {
  refuse("", {"is empty"});
  refuse("\n\n\r\n", {"is empty"});
  refuse("1\t0\t1\n", {"number of lines is 1", "2 layers"});
  refuse("1\t0\t1\n0\t0\t0\n1\t1\t1\n", {"number of lines is 3", "2 layers"});
  refuse("1\t0\n0\t0\t0\n", {"line 1: ", "columns is 2", "3 KV heads"});
  refuse("1\t0\t1\n0\t0\t0\t1\n", {"line 2: ", "columns is 4", "3 KV heads"});
  refuse("1\t0\t1\t\n0\t0\t0\n", {"line 1, column 4: ", "not ''"});
  refuse("1\t0\t1\n\n0\t0\t0\n", {"line 2: is empty"});
  refuse("\n1\t0\t1\n0\t0\t0\n", {"line 1: is empty"});
  refuse("1\t0\t1\r\r\n0\t0\t0\n", {"line 1, column 3: ", "'1\\x0d'"});
  refuse("a\tb\tc\n1\t0\t1\n0\t0\t0\n", {"line 1, column 1: ", "from 0 to 1, not 'a'"});
  refuse("1 0 1\n0 0 0\n", {"line 1, column 1: ", "not '1 0 1'"});
  refuse("1,0,1\n0,0,0\n", {"line 1, column 1: "});
  refuse("1\t0\t1\n0\t\t0\n", {"line 2, column 2: ", "not ''"});
  for (const std::string word : {"1.0001", "-0.1", "2", "1e300", "1e999", "nan", "-nan", "inf",
                                 "-inf", "NaN", "0x1", "1f", "+1", " 1", "1 ", "--1", ".", "1e"}) {
    refuse("1\t0\t1\n0\t" + word + "\t0\n", {"line 2, column 2: ", "from 0 to 1, not '" + word});
  }
}

TEST_CASE("head masks: bytes that are no text are shown as numbers, and cut") {
  refuse(std::string("\x80\x02}q\x00\x1b[31m\t1", 11), {"line 1, column 1: ", "\\x80\\x02}q\\x00"});
  refuse(std::string(100'000, '9') + "\t1\t1\n1\t1\t1\n", {"line 1, column 1: "});
  refuse(std::string(50'000, '\t'), {"line 1, column 1: "});
}

TEST_CASE("head masks: files") {
  const TempDir dir;
  const ModelConfig config = config_of_six();
  HeadOptions options;
  read_head_mask(options, config);
  CHECK(options.mask == nullptr);
  options.file = dir / "mask.tsv";
  expect_error(ExitCode::kIo, {"mask.tsv"}, [&] { read_head_mask(options, config); });
  write_file(options.file, "1\t0\t1\n0\t0\t1\n");
  read_head_mask(options, config);
  REQUIRE(options.mask != nullptr);
  CHECK(options.mask->sink == 128);
  CHECK(options.mask->window == 1024);
  CHECK(options.mask->rows() == 1152);
  CHECK(options.mask->n_streaming() == 3);
  CHECK_FALSE(options.mask->streams(0, 0));
  CHECK(options.mask->streams(0, 1));
  CHECK(options.mask->streams(1, 0));
  options.sink = 4;
  options.window = 5;
  options.threshold = 0;
  read_head_mask(options, config);
  CHECK(options.mask->rows() == 9);
  CHECK_FALSE(options.mask->streams_at_all());
  write_file(options.file, std::string(1'000'000, '\n'));
  expect_error(ExitCode::kModel, {"1000000 bytes"}, [&] { read_head_mask(options, config); });
  options.file = dir.path();
  expect_error(ExitCode::kIo, {"is a directory"}, [&] { read_head_mask(options, config); });
  options.file = dir / "fifo";
  REQUIRE(mkfifo(options.file.c_str(), 0600) == 0);
  expect_error(ExitCode::kIo, {"fifo"}, [&] { read_head_mask(options, config); });
}
