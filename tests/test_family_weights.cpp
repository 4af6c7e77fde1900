// Biases and norms of heads on their way from a checkpoint into the network.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "src/random_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/loaded_model.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// The tensors of one tiny model under the config.json of another.
void write_mixed(const std::filesystem::path& dir, const TinyModel& config,
                 const TinyModel& tensors) {
  write_file(dir / "config.json", tiny_config_json(config));
  write_safetensors(dir / "model.safetensors", tiny_tensors(tensors));
}

void refuse(const TinyModel& config, const TinyModel& tensors,
            std::initializer_list<std::string_view> parts) {
  const TempDir dir;
  write_mixed(dir.path(), config, tensors);
  expect_error(ExitCode::kModel, parts, [&] { open_network(dir.path()); });
}

/// The values of the tensors of these names, one behind the other.
std::vector<float> values_of(const std::vector<TestTensor>& tensors,
                             const std::vector<std::string>& names) {
  std::vector<float> all;
  for (const std::string& name : names) {
    for (const TestTensor& tensor : tensors) {
      if (tensor.name != name) continue;
      const std::vector<float> values = decode(tensor);
      all.insert(all.end(), values.begin(), values.end());
    }
  }
  return all;
}

std::vector<float> copied(const float* from, size_t n) {
  REQUIRE(from != nullptr);
  return {from, from + n};
}

}  // namespace

TEST_CASE("weights: biases and norms of heads are widened to fp32, q, k and v in a row") {
  TinyModel tiny{.type = DType::kBF16, .model_type = "qwen3"};
  tiny.attention_bias = true;
  const std::vector<TestTensor> tensors = tiny_tensors(tiny);
  const Model model = load_tiny(tiny, 16);
  const std::string name = "model.layers.1.self_attn.";
  const LayerWeights& layer = model.weights.layers[1];
  CHECK(copied(layer.qkv_bias, size_t(model.config.qkv_size())) ==
        values_of(tensors, {name + "q_proj.bias", name + "k_proj.bias", name + "v_proj.bias"}));
  CHECK(copied(layer.o_bias, 16) == values_of(tensors, {name + "o_proj.bias"}));
  CHECK(copied(layer.q_norm, 8) == values_of(tensors, {name + "q_norm.weight"}));
  CHECK(copied(layer.k_norm, 8) == values_of(tensors, {name + "k_norm.weight"}));
  const Model plain = load_tiny({}, 16);
  CHECK(plain.weights.layers[0].qkv_bias == nullptr);
  CHECK(plain.weights.layers[0].o_bias == nullptr);
  CHECK(plain.weights.layers[0].q_norm == nullptr);
}

TEST_CASE("weights: missing, unexpected and misshapen biases end in one line") {
  const TinyModel plain, qwen2{.model_type = "qwen2"}, qwen3{.model_type = "qwen3"};
  refuse(qwen2, plain, {"6 missing: 'model.layers.0.self_attn.q_proj.bias'"});
  refuse(qwen3, plain, {"4 missing: 'model.layers.0.self_attn.q_norm.weight'"});
  refuse(plain, qwen2, {"6 unexpected: 'model.layers.0.self_attn.k_proj.bias'"});
  TinyModel biased = qwen2;
  biased.model_type = "llama";
  biased.attention_bias = true;
  refuse(biased, qwen2, {"2 missing: 'model.layers.0.self_attn.o_proj.bias'"});

  const TempDir dir;
  write_file(dir / "config.json", tiny_config_json(qwen2));
  std::vector<TestTensor> tensors = tiny_tensors(qwen2);
  for (TestTensor& tensor : tensors) {
    if (tensor.name == "model.layers.1.self_attn.v_proj.bias") tensor.shape = {4, 4};
  }
  write_safetensors(dir / "model.safetensors", tensors);
  expect_error(ExitCode::kModel,
               {"'model.layers.1.self_attn.v_proj.bias' has shape [4, 4]", "[16]"},
               [&] { open_network(dir.path()); });
}

TEST_CASE("weights: random networks of every family run") {
  for (const char* family : {"qwen2", "qwen3"}) {
    const TempDir dir;
    const TinyModel tiny{.model_type = family};
    write_file(dir / "config.json", tiny_config_json(tiny));
    const ModelFiles files = open_shape(dir / "config.json");
    const Model model = load_model(files, make_cpu_device(files.config, 1), roomy_shape(20), {});
    const std::vector<float> logits = all_logits(model, random_tokens(20, tiny.vocab_size, 1));
    for (const float logit : logits) REQUIRE(std::isfinite(logit));
  }
}
