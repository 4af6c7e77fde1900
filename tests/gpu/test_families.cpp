// Families and RoPE scalings on the GPU: against Hugging Face's logits, and small models of each in
// every type against the CPU and against themselves.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/gpu/gpu.h"
#include "tests/npy.h"
#include "tests/support/hf_fixtures.h"
#include "tests/support/numbers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// Every addition to the plain block once, on heads that only the plain kernels take and on heads
/// of the fast ones.
std::vector<TinyModel> family_shapes() {
  const char* const kYarn =
      R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":64})";
  const char* const kLlama3 =
      R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
      R"("original_max_position_embeddings":64})";
  const TinyModel kinds[] = {
      {.model_type = "qwen2"},
      {.model_type = "qwen3"},
      {.model_type = "qwen3", .attention_bias = true},
      {.model_type = "llama", .attention_bias = true},
      {.model_type = "mistral", .window = 17},
      {.model_type = "qwen2", .window = 40},
      {.rope = R"({"rope_type":"linear","factor":3.0})"},
      {.max_positions = 64, .rope = R"({"rope_type":"dynamic","factor":4.0})"},
      {.model_type = "qwen2", .rope = kYarn},
      {.rope = kLlama3},
  };
  std::vector<TinyModel> all;
  for (const TinyModel& kind : kinds) {
    all.push_back(kind);
    TinyModel wide = kind;
    wide.hidden_size = 128;
    wide.intermediate_size = 192;
    wide.head_dim = 64;
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      wide.type = type;
      all.push_back(wide);
    }
    wide.head_dim = 128;
    all.push_back(wide);
  }
  return all;
}

std::string name_of(const TinyModel& shape) {
  return shape.model_type + (shape.attention_bias ? " with bias " : " ") + shape.rope + " window " +
         std::to_string(shape.window) + ' ' + std::string(dtype_name(shape.type)) + " head_dim " +
         std::to_string(shape.head_dim);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The logits after `prompt` and each token of `rest`, one a step.  [rest + 1, vocab_size]
std::vector<float> step_logits(const Model& model, std::span<const int32_t> prompt,
                               std::span<const int32_t> rest) {
  Sequence sequence(model.network(), int64_t(prompt.size() + rest.size()), 0);
  sequence.prefill(prompt);
  std::vector<float> all = last_logits(sequence, model);
  for (const int32_t token : rest) {
    sequence.set_next_token(token);
    sequence.decode();
    const std::vector<float> logits = last_logits(sequence, model);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

}  // namespace

TEST_CASE("GPU: fp32 logits of every family and RoPE scaling equal Hugging Face's") {
  NEEDS_GPU();
  for (const char* name : kFamiliesF32) {
    CAPTURE(name);
    const std::vector<int32_t> ids = fixture_ids(name);
    const auto expected = read_npy<float>(kFixtures / name / "logits.npy");
    const Model model = load_on_gpu(kFixtures / name, int64_t(ids.size()));
    const std::vector<float> logits = all_logits(model, ids);
    REQUIRE(logits.size() == expected.values.size());
    CHECK(max_difference(logits, expected.values) < 1e-3);
    CHECK(nmse(logits, expected.values) < 1e-9);
  }
}

TEST_CASE("GPU: 64 greedy tokens in fp32 equal those that Hugging Face draws with its cache") {
  NEEDS_GPU();
  for (const char* name : kGreedyF32) {
    CAPTURE(name);
    const nlohmann::json greedy = read_fixture(name, "greedy.json");
    const std::vector<int32_t> prompt = greedy["prompt"];
    const std::vector<int32_t> expected = greedy["ids"];
    const Model model = load_on_gpu(kFixtures / name, int64_t(prompt.size() + expected.size()));
    CHECK(greedy_tokens(model, prompt, expected.size()) == expected);
  }
}

TEST_CASE("GPU: families and RoPE scalings equal the CPU's in every type, prefill and decode") {
  NEEDS_GPU();
  for (const TinyModel& shape : family_shapes()) {
    CAPTURE(name_of(shape));
    const std::vector<int32_t> tokens = random_tokens(150, shape.vocab_size, 1);
    const std::span<const int32_t> all(tokens);
    const Model cpu = load_tiny(shape, 150);
    const Model gpu = load_tiny_on_gpu(shape, 150);
    const double tolerance = shape.type == DType::kF32 ? 1e-9 : 1e-3;
    CHECK(nmse(all_logits(gpu, tokens), all_logits(cpu, tokens)) < tolerance);
    const std::vector<float> truth = step_logits(cpu, all.first(50), all.subspan(50, 40));
    CHECK(nmse(step_logits(gpu, all.first(50), all.subspan(50, 40)), truth) < tolerance);
  }
}

TEST_CASE("GPU: families: graph or not, to the bit; fused or not, nearly") {
  NEEDS_GPU();
  for (const TinyModel& shape : family_shapes()) {
    CAPTURE(name_of(shape));
    const std::vector<int32_t> tokens = random_tokens(90, shape.vocab_size, 2);
    const std::span<const int32_t> all(tokens);
    const auto logits = [&](const CudaOptions& options) {
      const Model model = load_tiny_on_gpu(shape, 90, options);
      return step_logits(model, all.first(50), all.subspan(50));
    };
    CudaOptions options;
    const std::vector<float> graph = logits(options);
    CHECK(same_bits(logits(options), graph));
    options.graph = false;
    CHECK(same_bits(logits(options), graph));
    options.fuse = false;
    CHECK(nmse(logits(options), graph) < (shape.type == DType::kF32 ? 1e-10 : 1e-4));
  }
}
