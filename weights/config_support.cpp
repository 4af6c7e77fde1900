#include "weights/config_support.h"

#include <algorithm>
#include <array>

namespace winnow {
namespace {

// Absent, null or false: the plain Llama block. Anything else changes what is computed.
constexpr std::array kMustBeOff = {
    "attention_chunk_size",
    "attn_logit_softcapping",
    "compression_config",
    "final_logit_softcapping",
    "is_encoder_decoder",
    "logit_softcapping",
    "mlp_bias",
    "moe_intermediate_size",
    "n_routed_experts",
    "no_rope_layers",
    "num_experts",
    "num_local_experts",
    "parallel_residual",
    "qk_layernorm",
    "qk_norm",
    "quantization_config",
    "query_pre_attn_scalar",
    "use_bias",
    "use_mrope",
    "use_parallel_residual",
    "use_qk_norm",
};

// Absent, null or 1: factors that the forward pass does not apply.
constexpr std::array kMustBeOne = {
    "attention_multiplier", "embedding_multiplier",  "logit_scale",
    "logits_scaling",       "partial_rotary_factor", "residual_multiplier",
};

void refuse_unless_one(const ConfigReader& reader, const char* key) {
  const Json* value = reader.find(key);
  if (value == nullptr || (value->is_number() && value->get<double>() == 1)) return;
  reader.reject(key, " ", describe(*value), " is not supported, only 1");
}

/// What config.json calls a family.
struct FamilyNames {
  Family family;
  std::string_view model_type;
  std::string_view architecture;
};

constexpr std::array kFamilies = {
    FamilyNames{Family::kLlama, "llama", "LlamaForCausalLM"},
    FamilyNames{Family::kLlama, "llama", "LLaMAForCausalLM"},
    FamilyNames{Family::kMistral, "mistral", "MistralForCausalLM"},
    FamilyNames{Family::kQwen2, "qwen2", "Qwen2ForCausalLM"},
    FamilyNames{Family::kQwen3, "qwen3", "Qwen3ForCausalLM"},
};

void refuse_other_activation(const ConfigReader& reader) {
  for (const char* key : {"hidden_act", "hidden_activation"}) {
    const std::string act = reader.optional_string(key).value_or("silu");
    if (act != "silu" && act != "swish") {
      reader.reject(key, " ", quoted(act), " is not supported, only 'silu'");
    }
  }
}

constexpr int64_t kMaxWindow = int64_t{1} << 31;

/// "full_attention" or "sliding_attention", whichever all layers are; nothing where none is named.
std::optional<bool> all_layers_slide(const ConfigReader& reader, int64_t n_layers) {
  const Json* types = reader.find("layer_types");
  if (types == nullptr) return std::nullopt;
  if (!types->is_array() || types->size() != static_cast<size_t>(n_layers)) {
    reader.reject("layer_types", " is not a list of ", n_layers, " layers");
  }
  for (const Json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") {
      reader.reject("layer_types", ": ", describe(type), " is not supported");
    }
    if (type != types->front()) {
      reader.reject("layer_types", ": layers of several kinds are not supported");
    }
  }
  return types->front() == "sliding_attention";
}

/// Qwen's older way to say it: the first max_window_layers layers see everything.
bool window_begins(const ConfigReader& reader, int64_t n_layers) {
  constexpr int64_t kDefault = 28;
  const int64_t full =
      reader.optional_integer("max_window_layers", 0, kMaxWindow).value_or(kDefault);
  if (full > 0 && full < n_layers) {
    reader.reject("max_window_layers", " ", full, " of ", n_layers,
                  " layers: layers of several kinds are not supported");
  }
  return full == 0;
}

}  // namespace

Family read_family(const ConfigReader& reader) {
  const std::optional<std::string> type = reader.optional_string("model_type");
  if (type) {
    for (const FamilyNames& names : kFamilies) {
      if (names.model_type == *type) return names.family;
    }
    reader.reject("model_type", " ", quoted(*type), " is not supported");
  }
  const Json* architectures = reader.find("architectures");
  if (architectures == nullptr) return Family::kLlama;
  std::optional<Family> family;
  for (const Json& name : *architectures) {
    const auto* const known = std::ranges::find_if(
        kFamilies, [&](const FamilyNames& names) { return name == names.architecture; });
    if (known == kFamilies.end() || (family && *family != known->family)) {
      reader.reject("architectures", ": ", describe(name), " is not supported");
    }
    family = known->family;
  }
  return family.value_or(Family::kLlama);
}

void refuse_unsupported(const ConfigReader& reader) {
  for (const char* key : kMustBeOff) {
    const Json* value = reader.find(key);
    if (value != nullptr && *value != false) {
      reader.reject(key, " ", describe(*value), " is not supported");
    }
  }
  for (const char* key : kMustBeOne) refuse_unless_one(reader, key);
  refuse_other_activation(reader);
}

int64_t read_window(const ConfigReader& reader, Family family, int64_t n_layers) {
  constexpr int64_t kDefault = 4096;  // what transformers takes where these families name none
  const bool qwen = family == Family::kQwen2 || family == Family::kQwen3;
  const bool on = reader.boolean_or("use_sliding_window", !qwen);
  const std::optional<bool> slide = all_layers_slide(reader, n_layers);
  const std::optional<int64_t> given =
      reader.optional_integer("sliding_window", on ? 1 : 0, kMaxWindow);
  const bool named = reader.object().contains("sliding_window");
  const int64_t window = given.value_or(named || family == Family::kLlama ? 0 : kDefault);
  if (slide && *slide && (!on || window == 0)) {
    reader.reject("layer_types", ": 'sliding_attention', but there is no sliding_window");
  }
  if (!on || window == 0 || (slide && !*slide)) return 0;
  if (qwen && !slide && !window_begins(reader, n_layers)) return 0;
  return window;
}

}  // namespace winnow
