#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temp_dir.h"
#include "weights/safetensors.h"

namespace winnow {
namespace {

using test::expect_error;
using test::safetensors_bytes;
using test::TempDir;
using test::write_file;

std::vector<TensorInfo> read_bytes(std::string_view bytes) {
  const TempDir dir;
  write_file(dir / "m.safetensors", bytes);
  return read_safetensors_header(File::open(dir / "m.safetensors"));
}

void expect_bytes_rejected(std::string_view bytes, std::initializer_list<std::string_view> parts) {
  expect_error(ExitCode::kModel, {"m.safetensors: "}, [&] { read_bytes(bytes); });
  expect_error(ExitCode::kModel, parts, [&] { read_bytes(bytes); });
}

/// A file with `header` and 16 bytes of data.
void expect_header_rejected(const std::string& header,
                            std::initializer_list<std::string_view> parts) {
  CAPTURE(header.substr(0, 200));
  expect_bytes_rejected(safetensors_bytes(header, std::string(16, 'd')), parts);
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

void expect_entry_rejected(const std::string& dtype, const std::string& shape,
                           const std::string& offsets,
                           std::initializer_list<std::string_view> parts) {
  expect_header_rejected(R"({"w":)" + entry(dtype, shape, offsets) + "}", parts);
}

/// The 8 bytes of a header length, and no header.
std::string length_bytes(uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

TEST_CASE("safetensors: tensors come in the order of their offsets") {
  const std::string header = R"( {"__metadata__":{"format":"pt"},)"
                             R"("a":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},)"
                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   )";
  const std::vector<TensorInfo> tensors =
      read_bytes(safetensors_bytes(header, std::string(16, 'd')));
  REQUIRE(tensors.size() == 2);
  CHECK(tensors[0].name == "b");
  CHECK(tensors[0].type == DType::kF32);
  CHECK(tensors[0].offset == 8 + header.size());
  CHECK(tensors[0].bytes == 4);
  CHECK(tensors[1].name == "a");
  CHECK(tensors[1].type == DType::kF16);
  CHECK(tensors[1].shape == std::vector<uint64_t>{2, 3});
  CHECK(tensors[1].offset == 8 + header.size() + 4);
  CHECK(tensors[1].bytes == 12);
}

TEST_CASE("safetensors: scalars, empty tensors and empty files of the right form are read") {
  const auto tensors =
      read_bytes(safetensors_bytes(R"({"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                                   R"("s":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}})",
                                   "dd"));
  REQUIRE(tensors.size() == 2);
  CHECK(tensors[0].name == "e");
  CHECK(tensors[0].bytes == 0);
  CHECK(tensors[1].shape.empty());
  CHECK(read_bytes(safetensors_bytes("{}", "")).empty());
}

TEST_CASE("safetensors: the header length must fit the file") {
  expect_bytes_rejected("", {"is empty"});
  expect_bytes_rejected("1234567", {"shorter than the 8-byte header length"});
  expect_bytes_rejected(length_bytes(0), {"too short"});
  expect_bytes_rejected(length_bytes(1) + "{", {"too short"});
  expect_bytes_rejected(length_bytes(UINT64_MAX) + "{}", {"18446744073709551615", "limit"});
  expect_bytes_rejected(length_bytes(3) + "{}", {"past the end"});
  CHECK(read_bytes(length_bytes(2) + "{}").empty());
}

TEST_CASE("safetensors: a huge header is refused before it is read") {
  const TempDir dir;
  write_file(dir / "m.safetensors", length_bytes(100'000'001));
  std::filesystem::resize_file(dir / "m.safetensors", 200'000'000);  // sparse
  const File file = File::open(dir / "m.safetensors");
  expect_error(ExitCode::kModel, {"m.safetensors: ", "100000001", "limit"},
               [&] { read_safetensors_header(file); });
}

TEST_CASE("safetensors: files of other formats are named") {
  expect_bytes_rejected("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n",
                        {"git-LFS pointer", "git lfs pull"});
  expect_bytes_rejected("<!DOCTYPE html>\n<html><body>Not found</body></html>", {"web page"});
  expect_bytes_rejected(std::string("PK\x03\x04\0\0\x08\x08\0\0\0\0", 12), {"ZIP"});
  expect_bytes_rejected("\x80\x02}q\x01(X\x05", {"pickle"});
  expect_bytes_rejected(std::string("GGUF\x03\0\0\0\0\0\0\0", 12), {"GGUF"});
  expect_bytes_rejected(R"({"hidden_size": 64, "more": 1})", {"JSON"});
}

TEST_CASE("safetensors: a header that is no JSON object is rejected") {
  for (const char* header : {"[]", "null", "\"x\"", "{", "   ", "{}{}", "{}x", "\x01{}"}) {
    expect_header_rejected(header, {"header"});
  }
  expect_header_rejected("\xef\xbb\xbf{}", {"does not start with '{'"});
  expect_header_rejected(std::string(100'000, '['), {"header"});
  expect_header_rejected(R"({"a":)" + std::string(100'000, '['), {"nesting"});
}

TEST_CASE("safetensors: invalid UTF-8 in the header is rejected with its place") {
  expect_header_rejected("{\"\xff\":1}", {"header:1:3: ", "UTF-8"});
  expect_header_rejected("{\"\xc0\x80\":1}", {"header:1:3: "});
  expect_header_rejected("{\"\xed\xa0\x80\":1}", {"header:1:4: "});
}

TEST_CASE("safetensors: duplicate names are rejected") {
  const std::string w = entry("\"F32\"", "[2]", "[0,8]");
  const std::string v = entry("\"F32\"", "[2]", "[8,16]");
  expect_header_rejected(R"({"w":)" + w + R"(,"w":)" + v + "}", {"duplicate key 'w'"});
  expect_header_rejected(R"({"w":)" + w + R"(,"\u0077":)" + v + "}", {"duplicate key 'w'"});
  expect_header_rejected(R"({"w":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
                         {"duplicate key 'dtype'"});
}

TEST_CASE("safetensors: metadata maps strings to strings, within a limit") {
  const std::string w = R"("w":)" + entry("\"F32\"", "[4]", "[0,16]");
  const auto with = [&](const std::string& metadata) {
    return R"({"__metadata__":)" + metadata + "," + w + "}";
  };
  expect_header_rejected(with(R"({"a":1})"), {"__metadata__", "'a'"});
  expect_header_rejected(with(R"({"a":{}})"), {"__metadata__", "'a'"});
  expect_header_rejected(with("[]"), {"__metadata__"});
  expect_header_rejected(with(R"({"a":")" + std::string(1'000'000, 'x') + "\"}"),
                         {"__metadata__", "limit"});
  CHECK(read_bytes(safetensors_bytes(with(R"({"a":"b"})"), std::string(16, 'd'))).size() == 1);
}

TEST_CASE("safetensors: unsupported types are named, with their tensor") {
  for (const std::string type : {"F8_E4M3", "BF17", "bf16", "F64", "I32", ""}) {
    expect_entry_rejected("\"" + type + "\"", "[4]", "[0,16]",
                          {"unsupported dtype '" + type + "' in tensor 'w'"});
  }
  expect_entry_rejected("5", "[4]", "[0,16]", {"dtype of tensor 'w'"});
  expect_entry_rejected("null", "[4]", "[0,16]", {"dtype of tensor 'w'"});
}

TEST_CASE("safetensors: an entry has its three fields and no other") {
  expect_header_rejected(R"({"w":{"dtype":"F32","shape":[4]}})", {"'w'", "no data_offsets"});
  expect_header_rejected(R"({"w":{"dtype":"F32","data_offsets":[0,16]}})", {"'w'", "no shape"});
  expect_header_rejected(R"({"w":{"shape":[4],"data_offsets":[0,16]}})", {"'w'", "no dtype"});
  expect_header_rejected(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"offset":0}})",
                         {"'w'", "unknown field 'offset'"});
  expect_header_rejected(R"({"w":7})", {"'w'", "not an object"});
}

TEST_CASE("safetensors: dimensions are small integers") {
  for (const char* shape :
       {"[-1]", "[1.5]", "[1e3]", "[4.0]", "[\"4\"]", "[true]", "[null]", "[[4]]", "[-0]",
        "[18446744073709551616]", "[281474976710656]", "[2,9223372036854775807]"}) {
    CAPTURE(shape);
    expect_entry_rejected("\"F32\"", shape, "[0,16]", {"shape of tensor 'w'"});
  }
  expect_entry_rejected("\"F32\"", "4", "[0,16]", {"shape of tensor 'w'", "no list"});
  expect_entry_rejected("\"F32\"", "[1,1,1,1,1,1,1,1,4]", "[0,16]", {"9 dimensions"});
  expect_entry_rejected("\"F32\"", "[4194305,4194305,211106198978564]", "[0,16]", {"overflows"});
}

TEST_CASE("safetensors: offsets are two integers within the data") {
  for (const char* offsets :
       {"[-1,15]", "[0,16,32]", "[0]", "[]", "[\"0\",\"16\"]", "[0.0,16.0]", "16", "null"}) {
    CAPTURE(offsets);
    expect_entry_rejected("\"F32\"", "[4]", offsets, {"data_offsets of tensor 'w'"});
  }
  expect_entry_rejected("\"F32\"", "[4]", "[16,0]", {"'w'", "backwards"});
  expect_entry_rejected("\"F32\"", "[5]", "[0,20]", {"'w'", "past the end"});
  expect_entry_rejected("\"F32\"", "[4]", "[0,18446744073709551615]", {"'w'", "past the end"});
}

TEST_CASE("safetensors: the range must have the size of the shape") {
  expect_entry_rejected("\"F32\"", "[1000,1000]", "[0,16]", {"'w'", "16 bytes", "4000000"});
  expect_entry_rejected("\"F16\"", "[4]", "[0,16]", {"'w'", "16 bytes", "8"});
  expect_entry_rejected("\"F32\"", "[0]", "[0,16]", {"'w'", "16 bytes", "need 0"});
}

TEST_CASE("safetensors: tensors cover the data without overlap, hole or rest") {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":)" + a + R"(,"b":)" + b + "}";
  };
  const auto f32 = [](const char* shape, const char* offsets) {
    return entry("\"F32\"", shape, offsets);
  };
  expect_header_rejected(two(f32("[4]", "[0,16]"), f32("[4]", "[0,16]")), {"'b'", "inside"});
  expect_header_rejected(two(f32("[3]", "[0,12]"), f32("[2]", "[8,16]")), {"'b'", "inside"});
  expect_header_rejected(two(f32("[1]", "[0,4]"), f32("[2]", "[8,16]")), {"'b'", "hole"});
  expect_header_rejected(R"({"a":)" + f32("[3]", "[4,16]") + "}", {"'a'", "hole"});
  expect_header_rejected(R"({"a":)" + f32("[3]", "[0,12]") + "}", {"4 bytes follow"});
  expect_header_rejected("{}", {"16 bytes follow"});
}

TEST_CASE("safetensors: a file that was cut off is rejected by its size") {
  const std::string whole = safetensors_bytes(
      R"({"w":)" + entry("\"F32\"", "[100]", "[0,400]") + "}", std::string(400, 'd'));
  CHECK(read_bytes(whole).size() == 1);
  expect_bytes_rejected(whole.substr(0, whole.size() - 1), {"'w'", "cut off"});
  expect_bytes_rejected(whole.substr(0, whole.size() / 2), {"'w'", "cut off"});
  expect_bytes_rejected(whole.substr(0, 20), {"cut off"});
}

TEST_CASE("safetensors: names are bounded and shown escaped") {
  expect_header_rejected(
      R"({")" + std::string(1'000'001, 'n') + R"(":)" + entry("\"F32\"", "[4]", "[0,16]") + "}",
      {"nnn...", "longer than"});
  expect_header_rejected("{\"a\\u0000\\n\\u001b[2J\":" + entry("\"F99\"", "[4]", "[0,16]") + "}",
                         {"'a\\x00\\x0a\\x1b[2J'"});
}

std::string many_entries(int n) {
  std::string header = "{";
  for (int i = 0; i < n; ++i) {
    header +=
        (i == 0 ? "\"t" : ",\"t") + std::to_string(i) + "\":" + entry("\"F32\"", "[0]", "[0,0]");
  }
  return header + "}";
}

TEST_CASE("safetensors: the number of tensors is limited, and the limit is quick to reach") {
  const auto start = std::chrono::steady_clock::now();
  CHECK(read_bytes(safetensors_bytes(many_entries(100'000), "")).size() == 100'000);
  expect_bytes_rejected(safetensors_bytes(many_entries(100'002), ""), {"100002", "100000"});
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("safetensors: every single byte of a header may change without a crash") {
  const std::string header = R"({"w":)" + entry("\"F32\"", "[2,2]", "[0,16]") + "}";
  const std::string whole = safetensors_bytes(header, std::string(16, 'd'));
  const TempDir dir;
  for (size_t at = 0; at < 8 + header.size(); ++at) {
    for (const char byte : {'\0', '\xff', '"', '9', '}', '\\'}) {
      std::string changed = whole;
      changed[at] = byte;
      write_file(dir / "m.safetensors", changed);
      try {
        read_safetensors_header(File::open(dir / "m.safetensors"));
      } catch (const Error& error) {
        CHECK(error.code() == ExitCode::kModel);
      }
    }
  }
}

}  // namespace
}  // namespace winnow
