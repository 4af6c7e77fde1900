#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "src/base/json.h"
#include "tests/support/expect_error.h"

namespace winnow {
namespace {

using test::expect_error;

void expect_rejected(const std::string& text, std::initializer_list<std::string_view> parts) {
  CAPTURE(text.substr(0, 60));
  expect_error(ExitCode::kModel, parts, [&] { parse_json(text, "some.json"); });
}

TEST_CASE("json: values of every kind are read") {
  const Json json = parse_json(
      R"( {"a": [1, -2, 3.5, true, null, []], "b": {"c": "é\u0041\n"}, "big": 18446744073709551615} )",
      "some.json");
  CHECK(json["a"].size() == 6);
  CHECK(json["a"][0].is_number_unsigned());
  CHECK(json["a"][1] == -2);
  CHECK(json["a"][2] == 3.5);
  CHECK(json["a"][5].is_array());
  CHECK(json["b"]["c"] == "éA\n");
  CHECK(json["big"].get<uint64_t>() == 18446744073709551615U);
  CHECK(parse_json("7", "some.json") == 7);
}

TEST_CASE("json: complaints carry line and column") {
  expect_rejected("{\n  \"a\": 1,\n  \"b\" 2}", {"some.json:3:7: "});
  expect_rejected("", {"some.json:1:1: "});
  expect_rejected("{\"a\": [1, 2", {"some.json:1:11: "});
}

TEST_CASE("json: what the standard forbids is rejected") {
  expect_rejected("{} x", {"some.json:1:4: "});
  expect_rejected("[1,]", {"some.json:1:4: "});
  expect_rejected("// no\n{}", {"some.json:1:"});
  expect_rejected("{/* no */}", {"some.json:1:"});
  expect_rejected("{'a': 1}", {"some.json:1:2: "});
  expect_rejected("[NaN]", {"some.json:1:"});
  expect_rejected("[01]", {"some.json:1:"});
  expect_rejected("[\"a\nb\"]", {"some.json:"});
  expect_rejected("[1e999]", {"some.json:1:", "too large"});
  expect_rejected("\xef\xbb\xbf{}", {"some.json:1:1: ", "byte order mark"});
  expect_rejected(std::string("{}\0", 3), {"some.json:1:3: "});
}

TEST_CASE("json: invalid UTF-8 is rejected") {
  expect_rejected("[\"a\xff\"]", {"some.json:1:4: ", "UTF-8"});
  expect_rejected("[\"\xc0\x80\"]", {"some.json:1:3: "});
  expect_rejected("[\"\xed\xa0\x80\"]", {"some.json:1:4: "});
  expect_rejected("[\"\\ud800\"]", {"some.json:1:"});
  expect_rejected("{\"\xff\": 1}", {"some.json:1:3: "});
}

TEST_CASE("json: duplicate keys are rejected, also where they are spelled apart") {
  expect_rejected(R"({"w": 1, "v": 2, "w": 3})", {"some.json:1:", "duplicate key 'w'"});
  expect_rejected(R"({"w": 1, "\u0077": 3})", {"duplicate key 'w'"});
  expect_rejected(R"({"a": {"k": null, "k": null}})", {"duplicate key 'k'"});
  expect_rejected("{\"a\\u001b\": 1, \"a\\u001b\": 2}", {"duplicate key 'a\\x1b'"});
  CHECK(parse_json(R"([{"w": 1}, {"w": 1}, {"x": {"w": 2}}])", "some.json").size() == 3);
}

TEST_CASE("json: nesting is limited") {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(parse_json(nested(32), "some.json").is_array());
  expect_rejected(nested(33), {"some.json:1:33: ", "nesting deeper than 32"});
  expect_rejected(std::string(100'000, '['), {"nesting deeper than 32"});
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  expect_rejected(objects, {"nesting deeper than 32"});
}

TEST_CASE("json: the number of values is limited") {
  std::string text = "[";
  for (int i = 0; i < 4'000'000; ++i) text += "0,";
  expect_rejected(text + "0]", {"more than 4000000 values"});
}

TEST_CASE("json: a large flat object is read in linear time") {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) {
    text += (i == 0 ? "" : ",") + ("\"tensor." + std::to_string(i)) +
            R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  }
  text += "}";
  const auto start = std::chrono::steady_clock::now();
  CHECK(parse_json(text, "some.json").size() == 100'000);
  // A quadratic parser takes minutes here.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("json: files of other kinds are named") {
  expect_rejected("version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                  {"git-LFS pointer"});
  expect_rejected("<!DOCTYPE html><html></html>", {"web page"});
}

}  // namespace
}  // namespace winnow
