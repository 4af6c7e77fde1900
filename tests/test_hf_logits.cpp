// The network against Hugging Face's, through fixtures that tools/make_hf_fixtures.py made: random
// models of every kind that is supported, as transformers saves them, and the bundled model.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/npy.h"
#include "tests/support/hf_fixtures.h"
#include "tests/support/loaded_model.h"
#include "tests/support/numbers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_file(path));
}

void check_logits(const char* name) {
  CAPTURE(name);
  const std::vector<int32_t> ids = fixture_ids(name);
  const auto expected = read_npy<float>(kFixtures / name / "logits.npy");
  const Model model = load_on_cpu(kFixtures / name, int64_t(ids.size()));
  REQUIRE(expected.shape == std::vector<int64_t>{int64_t(ids.size()), model.config.vocab_size});
  const std::vector<float> logits = all_logits(model, ids);
  REQUIRE(logits.size() == expected.values.size());
  CHECK(max_difference(logits, expected.values) < 1e-3);
  CHECK(nmse(logits, expected.values) < 1e-9);
}

}  // namespace

TEST_CASE("logits equal Hugging Face's in fp32: GQA, MHA, MQA, tied, head_dim, shards, F16, BF16") {
  for (const char* name : kPlainF32) check_logits(name);
  for (const char* name : {"gqa_f16", "gqa_bf16", "gqa_bf16_sharded_tied"}) check_logits(name);
}

TEST_CASE("logits equal Hugging Face's: biases, norms of heads, windows, every RoPE scaling") {
  for (const char* name : kFamiliesF32) check_logits(name);
}

TEST_CASE("64 greedy tokens equal those that Hugging Face draws with its cache") {
  for (const char* name : kGreedyF32) {
    CAPTURE(name);
    const nlohmann::json greedy = read_fixture(name, "greedy.json");
    const std::vector<int32_t> prompt = greedy["prompt"];
    const std::vector<int32_t> expected = greedy["ids"];
    REQUIRE(expected.size() == 64);
    const Model model = load_on_cpu(kFixtures / name, int64_t(prompt.size() + expected.size()));
    CHECK(greedy_tokens(model, prompt, expected.size()) == expected);
  }
}

TEST_CASE("the bundled model's logits equal Hugging Face's") {
  const std::vector<int32_t> ids = read_json(kFixtures / "demo/ids.json")["ids"];
  const auto expected = read_npy<float>(kFixtures / "demo/logits_last8.npy");
  const Model model = load_on_cpu("weights/demo", int64_t(ids.size()));
  const std::vector<float> all = all_logits(model, ids);
  const std::vector<float> last(all.end() - int64_t(expected.values.size()), all.end());
  CHECK(max_difference(last, expected.values) < 1e-3);
  CHECK(nmse(last, expected.values) < 1e-9);
}

TEST_CASE("the bundled model continues a text greedily as Hugging Face does") {
  const nlohmann::json greedy = read_json(kFixtures / "demo/greedy.json");
  const std::vector<int32_t> prompt = greedy["prompt"];
  const std::vector<int32_t> expected = greedy["ids"];
  const Model model = load_on_cpu("weights/demo", int64_t(prompt.size() + expected.size()));
  Sequence sequence(model.network(), int64_t(prompt.size() + expected.size()), 0);
  sequence.prefill(prompt);
  for (const int32_t id : expected) {
    REQUIRE(sequence.sample(int32_t(model.config.vocab_size), {}) == id);
    sequence.decode();
  }
}
