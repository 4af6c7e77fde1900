#include "weights/config_support.h"

#include <algorithm>
#include <array>

namespace winnow {
namespace {

// Absent, null or false: the plain Llama block. Anything else changes what is computed.
constexpr std::array kMustBeOff = {
    "attention_bias",
    "attention_chunk_size",
    "attn_logit_softcapping",
    "compression_config",
    "final_logit_softcapping",
    "is_encoder_decoder",
    "logit_softcapping",
    "mlp_bias",
    "moe_intermediate_size",
    "n_routed_experts",
    "num_experts",
    "num_local_experts",
    "parallel_residual",
    "qk_layernorm",
    "qk_norm",
    "quantization_config",
    "query_pre_attn_scalar",
    "use_bias",
    "use_parallel_residual",
    "use_qk_norm",
};

// Absent, null or 1: factors that the forward pass does not apply.
constexpr std::array kMustBeOne = {
    "attention_multiplier", "embedding_multiplier",  "logit_scale",
    "logits_scaling",       "partial_rotary_factor", "residual_multiplier",
};

constexpr std::array kRopeKeys = {
    "original_max_position_embeddings", "partial_rotary_factor", "rope_theta", "rope_type", "type",
};

void refuse_unless_one(const ConfigReader& config, const char* key) {
  const Json* value = config.find(key);
  if (value == nullptr || (value->is_number() && value->get<double>() == 1)) return;
  config.reject(key, " ", describe(*value), " is not supported, only 1");
}

/// The network must be one of those whose blocks are Llama's. Old files name only a class.
void refuse_other_model_type(const ConfigReader& config) {
  const std::optional<std::string> type = config.optional_string("model_type");
  if (type) {
    if (*type == "llama" || *type == "mistral") return;
    config.reject("model_type", " ", quoted(*type), " is not supported");
  }
  const Json* architectures = config.find("architectures");
  if (architectures == nullptr) return;
  const Json list = Json::array({"LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"});
  for (const Json& name : *architectures) {
    if (std::find(list.begin(), list.end(), name) == list.end()) {
      config.reject("architectures", ": ", describe(name), " is not supported");
    }
  }
}

void refuse_other_activation(const ConfigReader& config) {
  for (const char* key : {"hidden_act", "hidden_activation"}) {
    const std::string act = config.optional_string(key).value_or("silu");
    if (act != "silu" && act != "swish") {
      config.reject(key, " ", quoted(act), " is not supported, only 'silu'");
    }
  }
}

void refuse_windows(const ConfigReader& config) {
  const Json* window = config.find("sliding_window");
  if (window != nullptr && config.boolean_or("use_sliding_window", true)) {
    config.reject("sliding_window", " ", describe(*window), " is not supported, only null");
  }
  const Json* types = config.find("layer_types");
  if (types == nullptr) return;
  for (const Json& type : *types) {
    if (type != "full_attention") {
      config.reject("layer_types", ": ", describe(type), " is not supported");
    }
  }
}

/// Checks one object of rope settings and returns its rope_theta, if it has one.
std::optional<double> read_rope_object(const ConfigReader& rope, double min, double max) {
  for (const char* key : {"rope_type", "type"}) {
    const std::string type = rope.optional_string(key).value_or("default");
    if (type != "default") rope.reject(key, " ", quoted(type), " is not supported");
  }
  for (const auto& [key, value] : rope.object().items()) {
    if (std::find(kRopeKeys.begin(), kRopeKeys.end(), key) == kRopeKeys.end()) {
      rope.reject(quoted(key), " is not supported");
    }
  }
  refuse_unless_one(rope, "partial_rotary_factor");
  return rope.optional_number("rope_theta", min, max);
}

}  // namespace

void refuse_unsupported(const ConfigReader& config) {
  refuse_other_model_type(config);
  for (const char* key : kMustBeOff) {
    const Json* value = config.find(key);
    if (value != nullptr && *value != false) {
      config.reject(key, " ", describe(*value), " is not supported");
    }
  }
  for (const char* key : kMustBeOne) refuse_unless_one(config, key);
  refuse_other_activation(config);
  refuse_windows(config);
}

double read_rope_theta(const ConfigReader& config) {
  constexpr double kMin = 1;
  constexpr double kMax = 1e15;
  std::optional<double> theta = config.optional_number("rope_theta", kMin, kMax);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* object = config.find(key);
    if (object == nullptr) continue;
    if (!object->is_object()) config.reject(key, " is ", describe(*object), ", not an object");
    const std::string prefix = std::string(key) + ".";
    const ConfigReader rope(*object, config.file(), prefix);
    const std::optional<double> inner = read_rope_object(rope, kMin, kMax);
    if (theta && inner && *theta != *inner) {
      rope.reject("rope_theta", " is ", *inner, ", but another rope_theta is ", *theta);
    }
    if (inner) theta = inner;
  }
  return theta.value_or(10000.0);
}

}  // namespace winnow
