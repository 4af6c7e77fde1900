#include "weights/config_rope.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace winnow {
namespace {

constexpr double kMinTheta = 1;
constexpr double kMaxTheta = 1e15;
constexpr double kDefaultTheta = 10000;
constexpr double kMaxFactor = 10000;
constexpr double kTiny = 1e-6;
constexpr int64_t kMaxPositions = int64_t{1} << 48;

/// A kind of scaling, and the keys of its object beside those that every kind has.
struct Kind {
  std::string_view name;
  RopeType type;
  std::vector<std::string_view> keys;
};

const Kind& kind_named(const ConfigReader& rope, std::string_view key, std::string_view name) {
  static const std::vector<Kind> kinds = {
      {"default", RopeType::kDefault, {}},
      {"linear", RopeType::kLinear, {"factor"}},
      {"dynamic", RopeType::kDynamic, {"factor"}},
      {"yarn",
       RopeType::kYarn,
       {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
        "mscale", "mscale_all_dim", "truncate", "finetuned"}},
      {"llama3",
       RopeType::kLlama3,
       {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"}},
  };
  for (const Kind& kind : kinds) {
    if (kind.name == name) return kind;
  }
  rope.reject(key, " ", quoted(name), " is not supported");
}

/// By "rope_type", or its older name "type".
const Kind& read_kind(const ConfigReader& rope) {
  const std::optional<std::string> name = rope.optional_string("rope_type");
  const std::optional<std::string> old_name = rope.optional_string("type");
  if (name && old_name && *name != *old_name) {
    rope.reject("rope_type", " is ", quoted(*name), ", but type is ", quoted(*old_name));
  }
  if (name) return kind_named(rope, "rope_type", *name);
  return kind_named(rope, "type", old_name.value_or("default"));
}

/// A key of another kind would be ignored silently, or changes what is computed.
void refuse_other_keys(const ConfigReader& rope, const Kind& kind) {
  constexpr std::string_view kCommon[] = {"rope_theta", "rope_type", "type",
                                          "partial_rotary_factor"};
  for (const auto& [key, value] : rope.object().items()) {
    if (value.is_null() || std::ranges::count(kCommon, key) > 0) continue;
    if (std::ranges::count(kind.keys, key) > 0) continue;
    rope.reject(quoted(key), " is not supported for rope_type ", quoted(kind.name));
  }
  const Json* partial = rope.find("partial_rotary_factor");
  if (partial != nullptr && !(partial->is_number() && partial->get<double>() == 1)) {
    rope.reject("partial_rotary_factor", " ", describe(*partial), " is not supported, only 1");
  }
}

double required(const ConfigReader& rope, const char* key, double min, double max) {
  const std::optional<double> value = rope.optional_number(key, min, max);
  if (!value) rope.reject(key, " is missing; it must be a number from ", min, " to ", max);
  return *value;
}

/// 0.1 m ln(scale) + 1, the paper's temperature of attention for a text `scale` times as long.
double yarn_mscale(double scale, double m) {
  return scale <= 1 ? 1.0 : 0.1 * m * std::log(scale) + 1.0;
}

void read_yarn(const ConfigReader& rope, int64_t max_positions, RopeScaling& scaling) {
  const double implied =
      static_cast<double>(max_positions) / static_cast<double>(scaling.original_positions);
  const std::optional<double> factor = rope.optional_number("factor", 1, kMaxFactor);
  scaling.factor = factor.value_or(implied);
  if (!(scaling.factor >= 1 && scaling.factor <= kMaxFactor)) {
    rope.reject("factor",
                " is missing, and max_position_embeddings over "
                "original_max_position_embeddings is ",
                implied);
  }
  scaling.beta_fast = rope.optional_number("beta_fast", kTiny, 1e6).value_or(scaling.beta_fast);
  scaling.beta_slow = rope.optional_number("beta_slow", kTiny, 1e6).value_or(scaling.beta_slow);
  if (scaling.beta_fast < scaling.beta_slow) {
    rope.reject("beta_fast", " ", scaling.beta_fast, " is less than beta_slow ", scaling.beta_slow);
  }
  scaling.truncate = rope.boolean_or("truncate", true);
  const double mscale = rope.optional_number("mscale", 0, 1000).value_or(0);
  const double all_dim = rope.optional_number("mscale_all_dim", 0, 1000).value_or(0);
  const bool both = mscale != 0 && all_dim != 0;
  const double inferred =
      both ? yarn_mscale(scaling.factor, mscale) / yarn_mscale(scaling.factor, all_dim)
           : yarn_mscale(scaling.factor, 1);
  scaling.attention_factor =
      rope.optional_number("attention_factor", kTiny, 1000).value_or(inferred);
}

void read_llama3(const ConfigReader& rope, RopeScaling& scaling) {
  scaling.factor = required(rope, "factor", 1, kMaxFactor);
  scaling.low_freq_factor = required(rope, "low_freq_factor", kTiny, 1e6);
  scaling.high_freq_factor = required(rope, "high_freq_factor", kTiny, 1e6);
  if (scaling.low_freq_factor >= scaling.high_freq_factor) {
    rope.reject("low_freq_factor", " ", scaling.low_freq_factor,
                " is not less than high_freq_factor ", scaling.high_freq_factor);
  }
}

/// One object of rope settings; its rope_theta aside.
RopeScaling read_scaling(const ConfigReader& reader, const ConfigReader& rope,
                         const ModelConfig& config) {
  const Kind& kind = read_kind(rope);
  refuse_other_keys(rope, kind);
  RopeScaling scaling{.type = kind.type};
  constexpr const char* kOriginal = "original_max_position_embeddings";
  const std::optional<int64_t> inner = rope.optional_integer(kOriginal, 1, kMaxPositions);
  const std::optional<int64_t> outer = reader.optional_integer(kOriginal, 1, kMaxPositions);
  if (inner && outer && *inner != *outer) {
    rope.reject(kOriginal, " is ", *inner, ", but another one is ", *outer);
  }
  const int64_t original = inner ? *inner : outer.value_or(config.max_positions);
  switch (kind.type) {
    case RopeType::kDefault: return scaling;
    case RopeType::kLinear:
      scaling.factor = required(rope, "factor", 1, kMaxFactor);
      return scaling;
    case RopeType::kDynamic:
      scaling.original_positions = config.max_positions;
      scaling.factor = required(rope, "factor", 1, kMaxFactor);
      if (config.head_dim <= 2) rope.reject("rope_type", " 'dynamic' needs heads of more than 2");
      return scaling;
    case RopeType::kYarn:
      scaling.original_positions = original;
      read_yarn(rope, config.max_positions, scaling);
      return scaling;
    case RopeType::kLlama3:
      scaling.original_positions = original;
      read_llama3(rope, scaling);
      return scaling;
  }
  return scaling;
}

}  // namespace

void read_rope(const ConfigReader& reader, ModelConfig& config) {
  std::optional<double> theta = reader.optional_number("rope_theta", kMinTheta, kMaxTheta);
  std::optional<RopeScaling> scaling;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* object = reader.find(key);
    if (object == nullptr) continue;
    if (!object->is_object()) reader.reject(key, " is ", describe(*object), ", not an object");
    if (object->empty()) continue;
    const std::string prefix = std::string(key) + ".";
    const ConfigReader rope(*object, reader.file(), prefix);
    const RopeScaling one = read_scaling(reader, rope, config);
    if (scaling && !(one == *scaling)) {
      reader.reject(key, " and rope_parameters do not say the same");
    }
    scaling = one;
    const std::optional<double> inner = rope.optional_number("rope_theta", kMinTheta, kMaxTheta);
    if (theta && inner && *theta != *inner) {
      rope.reject("rope_theta", " is ", *inner, ", but another rope_theta is ", *theta);
    }
    if (inner) theta = inner;
  }
  config.rope_theta = theta.value_or(kDefaultTheta);
  config.rope = scaling.value_or(RopeScaling{});
  if (config.rope.type == RopeType::kYarn && config.rope_theta <= 1) {
    reader.reject("rope_theta", " ", config.rope_theta, " is too small for rope_type 'yarn'");
  }
}

}  // namespace winnow
