// What a family's block has beside the plain Llama's: biases, norms of heads, windows. By the keys
// of config.json, and by what transformers takes where a key is absent.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/config_text.h"
#include "tests/support/temp_dir.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// A config.json of the family, with more keys put in.
ModelConfig parse_family(const std::string& model_type, const Json& more = Json::object()) {
  Json json = Json::parse(tiny_config_json(TinyModel()));
  for (const char* key : {"attention_bias", "use_sliding_window", "max_window_layers"}) {
    json.erase(key);
  }
  json["model_type"] = model_type;
  json.update(more);
  return parse_config(json.dump(), "config.json");
}

void refuse_family(const std::string& model_type, const Json& more,
                   std::initializer_list<std::string_view> parts) {
  expect_error(ExitCode::kModel, parts, [&] { parse_family(model_type, more); });
}

}  // namespace

TEST_CASE("config: biases and norms of heads, by family and by attention_bias") {
  const Json bias = {{"attention_bias", true}};
  for (const char* plain : {"llama", "mistral"}) {
    CHECK_FALSE(parse_family(plain).qkv_bias);
    CHECK_FALSE(parse_family(plain).o_bias);
    CHECK_FALSE(parse_family(plain).qk_norm);
  }
  CHECK(parse_family("llama", bias).qkv_bias);
  CHECK(parse_family("llama", bias).o_bias);
  CHECK(parse_family("qwen2").qkv_bias);
  CHECK_FALSE(parse_family("qwen2").o_bias);
  CHECK_FALSE(parse_family("qwen2", bias).o_bias);
  CHECK_FALSE(parse_family("qwen2").qk_norm);
  CHECK_FALSE(parse_family("qwen3").qkv_bias);
  CHECK(parse_family("qwen3").qk_norm);
  CHECK(parse_family("qwen3", bias).o_bias);
  refuse_family("llama", {{"attention_bias", "yes"}}, {"attention_bias", "true or false"});
}

TEST_CASE("config: old files name only the class") {
  Json json = Json::parse(config_with("model_type", "-"));
  json["architectures"] = {"Qwen3ForCausalLM"};
  CHECK(parse_config(json.dump(), "config.json").qk_norm);
  json["architectures"] = {"Qwen2ForCausalLM"};
  CHECK(parse_config(json.dump(), "config.json").qkv_bias);
  json["architectures"] = {"LlamaForCausalLM", "Qwen2ForCausalLM"};
  expect_config_rejected(json.dump(), {"architectures", "'Qwen2ForCausalLM' is not supported"});
  json.erase("architectures");
  CHECK_FALSE(parse_config(json.dump(), "config.json").qkv_bias);
}

TEST_CASE("config: Qwen3's heads have 128 elements unless it says otherwise") {
  CHECK(parse_family("qwen3", {{"head_dim", nullptr}}).head_dim == 128);
  CHECK(parse_family("qwen3").head_dim == 8);
  CHECK(parse_family("qwen2", {{"head_dim", nullptr}}).head_dim == 4);
  refuse_family("qwen3", {{"head_dim", 7}}, {"head_dim 7", "even"});
}

TEST_CASE("config: a sliding window is on where the family's keys say so") {
  const Json window = {{"sliding_window", 50}};
  CHECK(parse_family("llama").window == 0);
  CHECK(parse_family("llama", window).window == 50);
  CHECK(parse_family("mistral", window).window == 50);
  CHECK(parse_family("mistral", {{"sliding_window", nullptr}}).window == 0);
  CHECK(parse_family("mistral").window == 4096);  // what transformers takes
  CHECK(parse_family("qwen2", window).window == 0);
  CHECK(parse_family("qwen2", {{"sliding_window", 0}}).window == 0);
  Json on = {{"sliding_window", 50}, {"use_sliding_window", true}, {"max_window_layers", 0}};
  CHECK(parse_family("qwen2", on).window == 50);
  on["use_sliding_window"] = false;
  CHECK(parse_family("qwen3", on).window == 0);
  on["use_sliding_window"] = true;
  for (const int full : {2, 28}) {
    on["max_window_layers"] = full;
    CHECK(parse_family("qwen3", on).window == 0);
  }
  on["max_window_layers"] = 1;
  refuse_family("qwen2", on, {"max_window_layers 1 of 2 layers", "several kinds"});
}

TEST_CASE("config: layer_types says which layers have the window, and all must be alike") {
  Json json = {{"sliding_window", 50}, {"use_sliding_window", true}};
  json["layer_types"] = {"sliding_attention", "sliding_attention"};
  CHECK(parse_family("qwen2", json).window == 50);
  json["layer_types"] = {"full_attention", "full_attention"};
  CHECK(parse_family("qwen2", json).window == 0);
  json["layer_types"] = {"full_attention", "sliding_attention"};
  refuse_family("qwen2", json, {"layer_types", "several kinds"});
  json["layer_types"] = {"chunked_attention", "chunked_attention"};
  refuse_family("llama", json, {"layer_types", "'chunked_attention' is not supported"});
  json["layer_types"] = {"full_attention"};
  refuse_family("llama", json, {"layer_types", "2 layers"});
  json["layer_types"] = 3;
  refuse_family("llama", json, {"layer_types", "2 layers"});
  json = {{"layer_types", {"sliding_attention", "sliding_attention"}}};
  refuse_family("llama", json, {"layer_types", "no sliding_window"});
}

TEST_CASE("config: malformed windows are refused") {
  for (const char* value : {"0", "-1", "\"4096\"", "1.5", "true", "1e30"}) {
    const Json window = {{"sliding_window", Json::parse(value)}};
    refuse_family("mistral", window, {"sliding_window", "integer from 1"});
  }
  refuse_family("mistral", {{"use_sliding_window", 1}}, {"use_sliding_window", "true or false"});
  const Json layers = {{"max_window_layers", -1}, {"use_sliding_window", true}};
  refuse_family("qwen2", layers, {"max_window_layers", "integer"});
}

TEST_CASE("config: a directory's generation_config.json says how texts end and are drawn") {
  const TempDir dir;
  write_file(dir / "config.json", config_with("eos_token_id", "2"));
  CHECK(read_config(dir.path()).eos == std::vector<int32_t>{2});
  CHECK_FALSE(read_config(dir.path()).sampling.do_sample);
  const auto with_generation = [&](std::string_view text) {
    write_file(dir / "generation_config.json", text);
    return read_config(dir.path());
  };
  CHECK(with_generation(R"({"eos_token_id":[5,6],"bos_token_id":9})").eos ==
        std::vector<int32_t>{5, 6});
  CHECK(with_generation(R"({"bos_token_id":9})").bos == 1);
  CHECK(with_generation(R"({"eos_token_id":null})").eos == std::vector<int32_t>{2});
  const SamplingDefaults sampling =
      with_generation(R"({"do_sample":true,"temperature":0.6,"top_k":20,"top_p":0.8,"min_p":0.1,)"
                      R"("repetition_penalty":1.05,"num_beams":1,"max_length":20})")
          .sampling;
  CHECK(sampling.do_sample);
  CHECK(sampling.temperature == 0.6F);
  CHECK(sampling.top_k == 20);
  CHECK(sampling.top_p == 0.8F);
  CHECK(sampling.min_p == 0.1F);
  CHECK(sampling.repeat_penalty == 1.05F);
  for (const char* text : {"", "{", "[]", R"({"eos_token_id":32})", R"({"eos_token_id":"2"})",
                           R"({"temperature":-1})", R"({"temperature":"hot"})", R"({"top_k":-1})",
                           R"({"top_k":1.5})", R"({"top_p":0})", R"({"top_p":1.5})",
                           R"({"min_p":2})", R"({"repetition_penalty":0})", R"({"do_sample":1})"}) {
    CAPTURE(text);
    expect_error(ExitCode::kModel, {(dir / "generation_config.json").string()},
                 [&] { with_generation(text); });
  }
}
