// RoPE scaling as config.json says it: what is read, and what ends in one clear line. The formulas
// themselves are checked by transformers' logits (test_hf_logits.cpp).
#include <doctest/doctest.h>

#include <string>

#include "src/rope.h"
#include "tests/support/config_text.h"

using namespace winnow;
using namespace winnow::test;

namespace {

ModelConfig parse_scaling(const std::string& value) {
  return parse_config_with("rope_scaling", value);
}

void refuse(const std::string& value, std::initializer_list<std::string_view> parts) {
  expect_config_rejected(config_with("rope_scaling", value), parts);
  expect_config_rejected(config_with("rope_parameters", value), {"rope_parameters"});
}

}  // namespace

TEST_CASE("config: rope_theta may stand in rope_parameters, and all must agree") {
  Json json = Json::parse(config_with("rope_theta", "-"));
  json["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "default"}};
  CHECK(parse_config(json.dump(), "config.json").rope_theta == 5e5);
  json["rope_theta"] = 5e5;
  json["rope_scaling"] = nullptr;
  CHECK(parse_config(json.dump(), "config.json").rope_theta == 5e5);
  json["rope_theta"] = 1e4;
  expect_config_rejected(json.dump(), {"rope_parameters.rope_theta", "500000", "10000"});
  json.erase("rope_theta");
  json["rope_scaling"] = {{"rope_theta", 7e5}, {"type", "default"}};
  expect_config_rejected(json.dump(), {"rope_scaling.rope_theta", "700000", "500000"});
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  expect_config_rejected(json.dump(), {"rope_scaling", "do not say the same"});
  json["rope_scaling"] = Json::object();
  CHECK(parse_config(json.dump(), "config.json").rope_theta == 5e5);
  json["rope_parameters"]["rope_theta"] = 0;
  expect_config_rejected(json.dump(), {"rope_parameters.rope_theta", "number"});
}

TEST_CASE("config: every kind of RoPE scaling is read, by either name of its key") {
  const RopeScaling linear = parse_scaling(R"({"type":"linear","factor":2.5})").rope;
  CHECK(linear == RopeScaling{.type = RopeType::kLinear, .factor = 2.5});
  const RopeScaling dynamic = parse_scaling(R"({"rope_type":"dynamic","factor":4})").rope;
  CHECK(dynamic == RopeScaling{.type = RopeType::kDynamic, .factor = 4, .original_positions = 128});
  const RopeScaling llama3 =
      parse_scaling(R"({"factor":8.0,"low_freq_factor":1.5,"high_freq_factor":5.0,)"
                    R"("original_max_position_embeddings":64,"rope_type":"llama3"})")
          .rope;
  CHECK(llama3 == RopeScaling{.type = RopeType::kLlama3,
                              .factor = 8,
                              .original_positions = 64,
                              .low_freq_factor = 1.5,
                              .high_freq_factor = 5});
  const RopeScaling yarn =
      parse_scaling(
          R"({"type":"yarn","factor":4,"original_max_position_embeddings":32,"beta_fast":20,)"
          R"("beta_slow":2,"attention_factor":0.5,"truncate":false,"finetuned":true})")
          .rope;
  CHECK(yarn == RopeScaling{.type = RopeType::kYarn,
                            .factor = 4,
                            .original_positions = 32,
                            .beta_fast = 20,
                            .beta_slow = 2,
                            .truncate = false,
                            .attention_factor = 0.5});
  CHECK(parse_scaling("null").rope == RopeScaling{});
  CHECK(parse_scaling(R"({"type":"default"})").rope == RopeScaling{});
  CHECK(parse_scaling(R"({"type":"linear","rope_type":"linear","factor":2})").rope.factor == 2);
}

TEST_CASE("config: yarn's factor and original length are found where files leave them out") {
  Json json = Json::parse(config_with("max_position_embeddings", "256"));
  json["rope_scaling"] = {{"type", "yarn"}, {"original_max_position_embeddings", 64}};
  ModelConfig config = parse_config(json.dump(), "config.json");
  CHECK(config.rope.factor == 4);
  CHECK(config.rope.attention_factor == doctest::Approx(0.1 * std::log(4.0) + 1));
  json["rope_scaling"]["factor"] = 8;
  config = parse_config(json.dump(), "config.json");
  CHECK(config.rope.factor == 8);
  CHECK(config.context() == 512);
  CHECK(config.max_positions == 256);
  json["rope_scaling"].erase("original_max_position_embeddings");
  CHECK(parse_config(json.dump(), "config.json").rope.original_positions == 256);
  json["original_max_position_embeddings"] = 128;
  CHECK(parse_config(json.dump(), "config.json").rope.original_positions == 128);
  json["rope_scaling"]["original_max_position_embeddings"] = 64;
  expect_config_rejected(json.dump(), {"original_max_position_embeddings is 64", "128"});
  json.erase("original_max_position_embeddings");
  json["rope_scaling"]["original_max_position_embeddings"] = 1024;
  json["rope_scaling"].erase("factor");
  expect_config_rejected(json.dump(), {"rope_scaling.factor is missing", "0.25"});
}

TEST_CASE("config: RoPE scaling that is unknown or malformed is refused by its key") {
  refuse(R"({"rope_type":"longrope","factor":4})", {"rope_scaling.rope_type 'longrope' is not"});
  refuse(R"({"type":"su"})", {"rope_scaling.type 'su' is not supported"});
  refuse(R"({"type":"mrope","mrope_section":[1,2]})", {"rope_scaling.type 'mrope'"});
  refuse(R"({"factor":2})", {"rope_scaling.'factor' is not supported for rope_type 'default'"});
  refuse(R"({"type":"linear","rope_type":"yarn","factor":2})", {"'yarn'", "'linear'"});
  refuse(R"({"type":"linear","factor":2,"beta_fast":3})", {"'beta_fast' is not supported"});
  refuse(R"({"type":"yarn","factor":2,"alpha":1})", {"'alpha' is not supported"});
  refuse(R"({"full_attention":{"rope_type":"default"}})", {"'full_attention' is not supported"});
  refuse(R"({"rope_type":"default","partial_rotary_factor":0.5})", {"partial_rotary_factor 0.5"});
  refuse(R"({"type":3,"factor":2})", {"rope_scaling.type is 3", "string"});
  refuse(R"([1])", {"rope_scaling", "not an object"});
  refuse(R"("x")", {"rope_scaling", "not an object"});
  expect_config_rejected(R"({"rope_scaling":{"type":"linear","factor":NaN}})", {"config.json:1:"});
}

TEST_CASE("config: values that a scaling's formula has no meaning for are refused") {
  for (const std::string kind : {"linear", "dynamic", "yarn"}) {
    for (const char* factor : {"0", "-2", "0.5", "1e9", "\"4\"", "[2]", "true"}) {
      refuse("{\"type\":\"" + kind + "\",\"factor\":" + factor + "}", {"factor", "number"});
    }
  }
  refuse(R"({"type":"linear"})", {"rope_scaling.factor is missing"});
  refuse(R"({"type":"dynamic","factor":null})", {"rope_scaling.factor is missing"});
  refuse(R"({"type":"llama3","factor":8})", {"rope_scaling.low_freq_factor is missing"});
  const std::string llama3 = R"({"type":"llama3","factor":8,"low_freq_factor":)";
  refuse(llama3 + R"(4,"high_freq_factor":4})", {"low_freq_factor 4 is not less"});
  refuse(llama3 + R"(0,"high_freq_factor":4})", {"low_freq_factor is 0", "number"});
  refuse(llama3 + R"(1,"high_freq_factor":4,"original_max_position_embeddings":0})",
         {"original_max_position_embeddings is 0", "integer"});
  const std::string yarn = R"({"type":"yarn","factor":4,)";
  refuse(yarn + R"("beta_fast":1,"beta_slow":2})", {"beta_fast 1 is less than beta_slow 2"});
  refuse(yarn + R"("beta_fast":0})", {"beta_fast is 0"});
  refuse(yarn + R"("attention_factor":0})", {"attention_factor is 0"});
  refuse(yarn + R"("attention_factor":-1})", {"attention_factor is -1"});
  refuse(yarn + R"("mscale":-1})", {"mscale is -1"});
  refuse(yarn + R"("truncate":1})", {"truncate is 1", "true or false"});
  Json json = Json::parse(config_with("rope_theta", "1"));
  json["rope_scaling"] = {{"type", "yarn"}, {"factor", 4}};
  expect_config_rejected(json.dump(), {"rope_theta 1 is too small"});
  const TinyModel narrow{.head_dim = 2};
  expect_config_rejected(config_with("rope_scaling", R"({"type":"dynamic","factor":2})", narrow),
                         {"heads of more"});
}

TEST_CASE("rope: dynamic frequencies are the plain ones up to the trained length, then fall") {
  const ModelConfig config = parse_scaling(R"({"type":"dynamic","factor":2})");
  const RopeFrequencies plain = rope_frequencies(config.rope_theta, config.head_dim);
  const RopeFrequencies step = rope_frequencies(config, 0);
  CHECK(step.dynamic.positions == 128);
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    CHECK(step.value[i] == plain.value[i]);
    CHECK(rope_frequencies(config, 128).value[i] == plain.value[i]);
    const float later = rope_frequencies(config, 256).value[i];
    CHECK((i == 0 ? later == 1 : later < plain.value[i]));
  }
  // theta' = theta * (2 * 2 - 1)^(8 / 6); the last pair turns by theta'^(-6 / 8)
  const double theta = 10000 * std::pow(3.0, 8.0 / 6);
  CHECK(rope_frequencies(config, 256).value[3] == doctest::Approx(std::pow(theta, -0.75)));
  CHECK(rope_frequencies(config, 256).dynamic.positions == 0);
}
