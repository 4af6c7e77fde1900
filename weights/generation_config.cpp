#include "weights/generation_config.h"

#include <limits>
#include <string>

#include "src/base/file.h"
#include "src/base/json.h"
#include "weights/config_reader.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxFileBytes = 1'000'000;

std::optional<float> number(const ConfigReader& reader, const char* key, double min, double max) {
  const std::optional<double> value = reader.optional_number(key, min, max);
  return value ? std::optional(static_cast<float>(*value)) : std::nullopt;
}

}  // namespace

void read_generation_config(const std::filesystem::path& path, ModelConfig& config) {
  constexpr double kOverZero = std::numeric_limits<float>::min();
  const std::string name = path.string();
  const Json root = parse_json(read_model_file(path, kMaxFileBytes), name);
  const ConfigReader reader(root, name);
  if (reader.find("eos_token_id") != nullptr) {
    config.eos = reader.token_ids("eos_token_id", config.vocab_size);
  }
  SamplingDefaults& sampling = config.sampling;
  sampling.do_sample = reader.boolean_or("do_sample", false);
  sampling.temperature = number(reader, "temperature", 0, 100);
  sampling.top_p = number(reader, "top_p", kOverZero, 1);
  sampling.min_p = number(reader, "min_p", 0, 1);
  sampling.repeat_penalty = number(reader, "repetition_penalty", kOverZero, 1000);
  const auto top_k = reader.optional_integer("top_k", 0, std::numeric_limits<int32_t>::max());
  if (top_k) sampling.top_k = static_cast<int32_t>(*top_k);
}

}  // namespace winnow
