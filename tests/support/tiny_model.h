// A Llama model directory of any small shape, with seeded random weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/base/dtype.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temp_dir.h"

namespace winnow::test {

struct TinyModel {
  int64_t hidden_size = 16;
  int64_t intermediate_size = 24;
  int64_t n_layers = 2;
  int64_t n_heads = 4;
  int64_t n_kv_heads = 2;
  int64_t head_dim = 8;
  int64_t vocab_size = 32;
  int64_t max_positions = 128;
  double rope_theta = 10000;
  bool tied = false;
  bool sharded = false;  // two shards and an index
  DType type = DType::kF32;
  uint64_t seed = 1;
  std::string model_type = "llama";  // qwen2: biases; qwen3: norms of q and k
  bool attention_bias = false;
  int64_t window = 0;       // 0: none
  std::string rope = "{}";  // rope_parameters, JSON

  bool has_qkv_bias() const { return attention_bias || model_type == "qwen2"; }
  bool has_o_bias() const { return attention_bias && model_type != "qwen2"; }
};

/// The generator of the weights (splitmix64); uniform in [-1, 1).
class TestRandom {
 public:
  explicit TestRandom(uint64_t seed) : state_(seed) {}

  float next() {
    state_ += 0x9e3779b97f4a7c15U;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    z ^= z >> 31;
    return static_cast<float>(static_cast<double>(z >> 11) * 0x1p-52 - 1.0);
  }

 private:
  uint64_t state_;
};

/// config.json. `more` is put in at the end, e.g. R"(,"eos_token_id":[2,3])".
inline std::string tiny_config_json(const TinyModel& model, const std::string& more = "") {
  const auto number = [](const char* key, int64_t value) {
    return ",\"" + std::string(key) + "\":" + std::to_string(value);
  };
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  return R"({"hidden_act":"silu","model_type":")" + model.model_type + "\"" +
         number("hidden_size", model.hidden_size) +
         number("intermediate_size", model.intermediate_size) +
         number("num_hidden_layers", model.n_layers) +
         number("num_attention_heads", model.n_heads) +
         number("num_key_value_heads", model.n_kv_heads) + number("head_dim", model.head_dim) +
         number("vocab_size", model.vocab_size) +
         number("max_position_embeddings", model.max_positions) +
         ",\"rms_norm_eps\":1e-05,\"rope_theta\":" + std::to_string(model.rope_theta) +
         ",\"tie_word_embeddings\":" + flag(model.tied) + ",\"bos_token_id\":1" +
         ",\"attention_bias\":" + flag(model.attention_bias) +
         ",\"use_sliding_window\":" + flag(model.window > 0) + ",\"max_window_layers\":0" +
         (model.window > 0 ? number("sliding_window", model.window) : "") +
         ",\"rope_parameters\":" + model.rope + more + "}";
}

/// One random tensor: `mean` + uniform in [-scale, scale).
inline TestTensor random_tensor(const std::string& name, DType type, std::vector<uint64_t> shape,
                                float mean, float scale, TestRandom& random) {
  uint64_t n = 1;
  for (const uint64_t dimension : shape) n *= dimension;
  std::vector<float> values(n);
  for (float& value : values) value = mean + scale * random.next();
  return {name, type, std::move(shape), encode(type, values)};
}

/// Every tensor of the model by its Hugging Face name. Matrices keep the size of what they
/// multiply; norms lie around 1.
inline std::vector<TestTensor> tiny_tensors(const TinyModel& model) {
  TestRandom random(model.seed);
  std::vector<TestTensor> tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
    const float scale = std::sqrt(3.0F / static_cast<float>(cols));
    tensors.push_back(random_tensor(name, model.type,
                                    {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)}, 0,
                                    scale, random));
  };
  const auto row = [&](const std::string& name, int64_t size, float mean) {
    tensors.push_back(
        random_tensor(name, model.type, {static_cast<uint64_t>(size)}, mean, 0.25F, random));
  };
  const auto norm = [&](const std::string& name) { row(name, model.hidden_size, 1); };
  const int64_t q_size = model.n_heads * model.head_dim;
  const int64_t kv_size = model.n_kv_heads * model.head_dim;
  matrix("model.embed_tokens.weight", model.vocab_size, model.hidden_size);
  for (int64_t i = 0; i < model.n_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    norm(layer + "input_layernorm.weight");
    matrix(layer + "self_attn.q_proj.weight", q_size, model.hidden_size);
    matrix(layer + "self_attn.k_proj.weight", kv_size, model.hidden_size);
    matrix(layer + "self_attn.v_proj.weight", kv_size, model.hidden_size);
    matrix(layer + "self_attn.o_proj.weight", model.hidden_size, q_size);
    norm(layer + "post_attention_layernorm.weight");
    matrix(layer + "mlp.gate_proj.weight", model.intermediate_size, model.hidden_size);
    matrix(layer + "mlp.up_proj.weight", model.intermediate_size, model.hidden_size);
    matrix(layer + "mlp.down_proj.weight", model.hidden_size, model.intermediate_size);
    if (model.has_qkv_bias()) {
      row(layer + "self_attn.q_proj.bias", q_size, 0);
      row(layer + "self_attn.k_proj.bias", kv_size, 0);
      row(layer + "self_attn.v_proj.bias", kv_size, 0);
    }
    if (model.has_o_bias()) row(layer + "self_attn.o_proj.bias", model.hidden_size, 0);
    if (model.model_type != "qwen3") continue;
    row(layer + "self_attn.q_norm.weight", model.head_dim, 1);
    row(layer + "self_attn.k_norm.weight", model.head_dim, 1);
  }
  norm("model.norm.weight");
  if (!model.tied) matrix("lm_head.weight", model.vocab_size, model.hidden_size);
  return tensors;
}

/// The tensors as two shards, cut in the middle, and their index.
inline void write_shards(const std::filesystem::path& dir, const std::vector<TestTensor>& tensors) {
  const std::vector<std::string> names = {"model-00001-of-00002.safetensors",
                                          "model-00002-of-00002.safetensors"};
  std::vector<std::vector<TestTensor>> shards(2);
  std::string map;
  uint64_t total = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const size_t shard = i < tensors.size() / 2 ? 0 : 1;
    shards[shard].push_back(tensors[i]);
    map += (i == 0 ? "\"" : ",\"") + tensors[i].name + "\":\"" + names[shard] + "\"";
    total += tensors[i].bytes.size();
  }
  for (size_t i = 0; i < shards.size(); ++i) write_safetensors(dir / names[i], shards[i]);
  write_file(
      dir / "model.safetensors.index.json",
      "{\"metadata\":{\"total_size\":" + std::to_string(total) + "},\"weight_map\":{" + map + "}}");
}

/// Writes config.json and the weights into `dir`, which exists. No tokenizer.
inline void write_tiny_model(const std::filesystem::path& dir, const TinyModel& model) {
  write_file(dir / "config.json", tiny_config_json(model));
  const std::vector<TestTensor> tensors = tiny_tensors(model);
  if (model.sharded) {
    write_shards(dir, tensors);
  } else {
    write_safetensors(dir / "model.safetensors", tensors);
  }
}

}  // namespace winnow::test
