// Which model it is: crc32c, FNV-1a, and what is made of a model directory with them.
#include <doctest/doctest.h>

#include "src/base/crc32c.h"
#include "src/base/fnv.h"
#include "tests/support/expect_error.h"
#include "tests/support/tiny_model.h"
#include "weights/fingerprint.h"

using namespace winnow;
using namespace winnow::test;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// Bit by bit, as the polynomial says.
uint32_t naive_crc32c(const std::string& text) {
  uint32_t crc = ~0U;
  for (const char c : text) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

uint64_t weights_of(const TinyModel& model) {
  const TempDir dir;
  write_tiny_model(dir.path(), model);
  return weights_fingerprint(open_checkpoint(dir.path()));
}

}  // namespace

TEST_CASE("crc32c: the standard's number, and the polynomial's") {
  CHECK(crc32c(bytes_of("123456789")) == 0xE3069283U);
  CHECK(crc32c({}) == 0);
  TestRandom random(60);
  std::string text;
  for (size_t n = 0; n < 70; ++n) {
    CHECK(crc32c(bytes_of(text)) == naive_crc32c(text));
    text.push_back(static_cast<char>(random.next() * 127));
  }
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const uint32_t first = crc32c(bytes_of(text).first(cut));
    CHECK(crc32c(bytes_of(text).subspan(cut), first) == naive_crc32c(text));
  }
}

TEST_CASE("fnv: the numbers of its authors") {
  const auto hash = [](std::string_view text) {
    Fnv64 fnv;
    fnv.add(text);
    return fnv.value();
  };
  CHECK(hash("") == 0xcbf29ce484222325U);
  CHECK(hash("a") == 0xaf63dc4c8601ec8cU);
  CHECK(hash("foobar") == 0x85944171f73967e8U);
}

TEST_CASE("fingerprint: copies and shards of a model share it, other weights do not") {
  const uint64_t one = weights_of({});
  CHECK(weights_of({}) == one);
  CHECK(weights_of({.sharded = true}) == one);
  CHECK(weights_of({.seed = 2}) != one);
  CHECK(weights_of({.type = DType::kBF16}) != one);
  CHECK(weights_of({.n_layers = 3}) != one);
}

TEST_CASE("fingerprint: every tensor counts, at its ends and between") {
  // 64 KiB and more: matrices of which only blocks are read.
  const TinyModel model{
      .hidden_size = 128, .intermediate_size = 256, .n_layers = 1, .vocab_size = 128};
  const std::vector<TestTensor> tensors = tiny_tensors(model);
  const auto fingerprint = [&](const std::vector<TestTensor>& all) {
    const TempDir dir;
    write_safetensors(dir / "model.safetensors", all);
    return weights_fingerprint(open_checkpoint(dir.path()));
  };
  const uint64_t one = fingerprint(tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    CAPTURE(tensors[i].name);
    const size_t n = tensors[i].bytes.size();
    for (const size_t at : {size_t{0}, n - 1}) {
      std::vector<TestTensor> changed = tensors;
      changed[i].bytes[at] = static_cast<char>(changed[i].bytes[at] ^ 1);
      CHECK(fingerprint(changed) != one);
    }
    // What training does: a small step for every element. A run of as much as the blocks are apart
    // is always seen.
    std::vector<TestTensor> changed = tensors;
    const size_t run = n <= 4096 ? 1 : (n - 256) / 15;
    for (size_t at = n / 3; at < n / 3 + run; ++at) {
      changed[i].bytes[at] = static_cast<char>(changed[i].bytes[at] ^ 1);
    }
    CHECK(fingerprint(changed) != one);
  }
}

TEST_CASE("fingerprint: config.json counts by its keys and values") {
  const auto of = [](std::string_view text) { return config_fingerprint(text, "config.json"); };
  const uint64_t one = of(R"({"a":1,"b":[2,3]})");
  CHECK(of(R"({ "b": [2, 3],
                "a": 1 })") == one);
  CHECK(of(R"({"a":1,"b":[2,3],"transformers_version":"4.1","_name_or_path":"x",
               "torch_dtype":"bfloat16","use_cache":true})") == one);
  CHECK(of(R"({"a":1,"b":[3,2]})") != one);
  CHECK(of(R"({"a":2,"b":[2,3]})") != one);
  CHECK(of(R"({"a":1,"b":[2,3],"rope_theta":1})") != one);
  expect_error(ExitCode::kModel, {"config.json:1:"}, [&] { of("{"); });
}
