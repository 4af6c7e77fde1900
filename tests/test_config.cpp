#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "tests/support/config_text.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"
#include "weights/config.h"

namespace winnow {
namespace {

using test::expect_error;
using test::TempDir;
using test::TinyModel;
using test::write_file;

std::string with(const std::string& key, const std::string& value) {
  return test::config_with(key, value);
}

ModelConfig parse_with(const std::string& key, const std::string& value) {
  return test::parse_config_with(key, value);
}

void expect_rejected(const std::string& text, std::initializer_list<std::string_view> parts) {
  test::expect_config_rejected(text, parts);
}

/// Each of `values` for `key` is rejected with a message that holds `cause`.
void expect_values_rejected(const std::string& key, std::initializer_list<const char*> values,
                            std::string_view cause) {
  for (const char* value : values) expect_rejected(with(key, value), {key, cause});
}

TEST_CASE("config: every key arrives") {
  TinyModel model;
  model.tied = true;
  model.rope_theta = 500000;
  const ModelConfig config =
      parse_config(test::tiny_config_json(model, R"(,"eos_token_id":[2,3])"), "config.json");
  CHECK(config.hidden_size == 16);
  CHECK(config.intermediate_size == 24);
  CHECK(config.n_layers == 2);
  CHECK(config.n_heads == 4);
  CHECK(config.n_kv_heads == 2);
  CHECK(config.head_dim == 8);
  CHECK(config.vocab_size == 32);
  CHECK(config.max_positions == 128);
  CHECK(config.rms_norm_eps == 1e-5F);
  CHECK(config.rope_theta == 500000);
  CHECK(config.tied_embeddings);
  CHECK(config.bos == 1);
  CHECK(config.eos == std::vector<int32_t>{2, 3});
  CHECK(config.qkv_size() == 64);
}

TEST_CASE("config: absent keys mean what they mean to transformers") {
  CHECK(parse_with("num_key_value_heads", "-").n_kv_heads == 4);
  CHECK(parse_with("num_key_value_heads", "null").n_kv_heads == 4);
  CHECK(parse_with("head_dim", "-").head_dim == 4);
  CHECK(parse_with("head_dim", "null").head_dim == 4);
  CHECK(parse_with("max_position_embeddings", "-").max_positions == 2048);
  CHECK(parse_with("rms_norm_eps", "-").rms_norm_eps == 1e-6F);
  CHECK(parse_with("rope_theta", "-").rope_theta == 10000);
  CHECK_FALSE(parse_with("tie_word_embeddings", "-").tied_embeddings);
  CHECK(parse_with("hidden_act", "-").hidden_size == 16);
  CHECK(parse_with("bos_token_id", "-").bos == -1);
  CHECK(parse_with("eos_token_id", "null").eos.empty());
  CHECK(parse_with("eos_token_id", "[]").eos.empty());
  CHECK(parse_with("eos_token_id", "0").eos == std::vector<int32_t>{0});
}

TEST_CASE("config: text that is no JSON object is rejected with its place") {
  expect_rejected("", {"config.json:1:1: "});
  expect_rejected("{\"hidden_size\": 16", {"config.json:1:18: "});
  expect_rejected("{\n// no comments\n}", {"config.json:2:"});
  expect_rejected("\xef\xbb\xbf{}", {"config.json:1:1: ", "byte order mark"});
  expect_rejected("[]", {"not a JSON object"});
  expect_rejected("{\"rms_norm_eps\": 1e999}", {"config.json:1:", "too large"});
}

TEST_CASE("config: sizes are integers within their range") {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "vocab_size", "max_position_embeddings", "head_dim"}) {
    expect_values_rejected(key, {"0", "-1", "\"32\"", "32.5", "[]", "true", "18446744073709551615"},
                           "it must be an integer from ");
  }
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "vocab_size"}) {
    expect_values_rejected(key, {"null"}, "is null");
    expect_values_rejected(key, {"-"}, "is missing");
  }
  expect_values_rejected("num_hidden_layers", {"1000000000", "1025"}, "from 1 to 1024");
  expect_values_rejected("vocab_size", {"2147483648"}, "integer");
  CHECK(parse_with("max_position_embeddings", "1000000000000").max_positions == 1000000000000);
}

TEST_CASE("config: heads must fit one another") {
  expect_values_rejected("num_key_value_heads", {"3"}, "not a multiple");
  expect_values_rejected("num_key_value_heads", {"8"}, "from 1 to 4");
  Json json = Json::parse(test::tiny_config_json(TinyModel()));
  json["num_attention_heads"] = 3;
  json["num_key_value_heads"] = 3;
  CHECK(parse_config(json.dump(), "config.json").head_dim == 8);
  json.erase("head_dim");
  expect_rejected(json.dump(), {"hidden_size 16", "num_attention_heads 3", "head_dim"});
  json["head_dim"] = 8;
  json["num_attention_heads"] = 66;
  json["num_key_value_heads"] = 2;
  expect_rejected(json.dump(), {"num_attention_heads 66", "33", "32"});
  json["num_attention_heads"] = 64;
  CHECK(parse_config(json.dump(), "config.json").group() == 32);
}

TEST_CASE("config: head_dim is even and at most 256") {
  for (const char* value : {"2", "6", "80", "256"}) {
    CHECK(parse_with("head_dim", value).head_dim == std::stoi(value));
  }
  expect_values_rejected("head_dim", {"7", "255"}, "even");
  expect_values_rejected("head_dim", {"512", "258", "1"}, "256");
  Json json = Json::parse(with("head_dim", "-"));
  json["hidden_size"] = 4 * 258;
  expect_rejected(json.dump(), {"head_dim 258", "256"});
}

TEST_CASE("config: rms_norm_eps and rope_theta are positive numbers") {
  expect_values_rejected("rms_norm_eps", {"0", "-1", "\"1e-5\"", "1e-300", "2", "[1]"}, "number");
  expect_values_rejected("rope_theta", {"0", "-10000", "1e300", "\"10000\"", "0.5"}, "number");
  CHECK(parse_with("rope_theta", "1000000").rope_theta == 1e6);
}

TEST_CASE("config: token ids lie within the vocabulary") {
  expect_values_rejected("eos_token_id", {"-1", "32", "\"2\"", "2.0", "[[1]]", "[2,32]", "[null]"},
                         "token ids are integers from 0 to 31");
  expect_values_rejected("bos_token_id", {"-1", "32", "\"1\"", "[1]"}, "from 0 to 31");
  expect_rejected(with("vocab_size", "1"), {"bos_token_id is 1"});
}

TEST_CASE("config: what the forward pass does not compute is refused by name") {
  const auto refused = [](const std::string& key, const std::string& value) {
    expect_rejected(with(key, value), {key, "not supported"});
  };
  refused("model_type", "\"qwen2_moe\"");
  refused("model_type", "\"qwen3_moe\"");
  refused("model_type", "\"gemma2\"");
  refused("model_type", "\"phi3\"");
  refused("model_type", "\"mixtral\"");
  refused("hidden_act", "\"gelu\"");
  refused("mlp_bias", "true");
  refused("use_mrope", "true");
  refused("no_rope_layers", "[1,0]");
  refused("quantization_config", R"({"quant_method":"awq"})");
  refused("num_local_experts", "8");
  refused("num_experts", "8");
  refused("final_logit_softcapping", "30.0");
  refused("attn_logit_softcapping", "50.0");
  refused("qk_norm", "true");
  refused("partial_rotary_factor", "0.5");
  refused("attention_multiplier", "0.0078125");
  refused("residual_multiplier", "0.22");
  refused("embedding_multiplier", "12");
  refused("logits_scaling", "8");
  refused("layer_types", R"(["full_attention","sliding_attention"])");
  Json json = Json::parse(with("model_type", "-"));
  json["architectures"] = {"GemmaForCausalLM"};
  expect_rejected(json.dump(), {"architectures", "'GemmaForCausalLM' is not supported"});
  expect_values_rejected("model_type", {"7"}, "string");
  expect_values_rejected("tie_word_embeddings", {"\"yes\"", "1"}, "true or false");
}

TEST_CASE("config: harmless spellings of the plain network are accepted") {
  const std::vector<std::pair<const char*, const char*>> harmless = {
      {"model_type", "\"mistral\""},
      {"model_type", "-"},
      {"hidden_act", "\"swish\""},
      {"attention_bias", "false"},
      {"mlp_bias", "null"},
      {"sliding_window", "null"},
      {"quantization_config", "null"},
      {"partial_rotary_factor", "1.0"},
      {"logits_scaling", "1"},
      {"pretraining_tp", "2"},
      {"layer_types", R"(["full_attention","full_attention"])"},
      {"unknown_key", R"({"a":[1]})"},
  };
  for (const auto& [key, value] : harmless) {
    CAPTURE(key);
    CHECK(parse_with(key, value).hidden_size == 16);
  }
}

TEST_CASE("config: a missing or oversized file is rejected, a bad path is an I/O error") {
  const TempDir dir;
  expect_error(ExitCode::kModel, {(dir / "config.json").string(), "missing"},
               [&] { read_config(dir.path()); });
  write_file(dir / "config.json", std::string(1'000'001, ' '));
  expect_error(ExitCode::kModel, {(dir / "config.json").string(), "1000001"},
               [&] { read_config(dir.path()); });
  expect_error(ExitCode::kIo, {"no such directory"}, [&] { read_config(dir / "nowhere"); });
  expect_error(ExitCode::kIo, {"pass the model's directory"},
               [&] { read_config(dir / "config.json"); });
}

TEST_CASE("config: the models at hand are accepted") {
  for (const char* path : {"weights/demo", "../shared/data/models/stories260K"}) {
    if (!std::filesystem::exists(path)) {
      MESSAGE("skipped: no ", std::string(path));
      continue;
    }
    CHECK(read_config(path).eos == std::vector<int32_t>{2});
  }
}

}  // namespace
}  // namespace winnow
