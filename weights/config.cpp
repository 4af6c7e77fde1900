#include "weights/config.h"

#include <string>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "weights/config_reader.h"
#include "weights/config_rope.h"
#include "weights/config_support.h"
#include "weights/generation_config.h"

namespace winnow {
namespace {

constexpr uint64_t kMaxFileBytes = 1'000'000;

// Far over any known model, and low enough that no product of a few of these overflows 64 bits.
constexpr int64_t kMaxHidden = int64_t{1} << 20;
constexpr int64_t kMaxIntermediate = int64_t{1} << 22;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = int64_t{1} << 14;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 48;

// What transformers takes where a key is absent.
constexpr double kDefaultEps = 1e-6;
constexpr int64_t kDefaultPositions = 2048;
constexpr int64_t kQwen3HeadDim = 128;

void read_heads(const ConfigReader& reader, ModelConfig& config) {
  config.n_heads = reader.integer("num_attention_heads", 1, kMaxHeads);
  config.n_kv_heads =
      reader.optional_integer("num_key_value_heads", 1, config.n_heads).value_or(config.n_heads);
  if (config.n_heads % config.n_kv_heads != 0) {
    reader.reject("num_attention_heads", " ", config.n_heads,
                  " is not a multiple of num_key_value_heads ", config.n_kv_heads);
  }
  if (config.group() > kMaxGroup) {
    reader.reject("num_attention_heads", " ", config.n_heads, " over num_key_value_heads ",
                  config.n_kv_heads, " gives groups of ", config.group(), " heads; at most ",
                  kMaxGroup, " are supported");
  }
}

void read_head_dim(const ConfigReader& reader, Family family, ModelConfig& config) {
  std::optional<int64_t> given = reader.optional_integer("head_dim", 2, kMaxHeadDim);
  if (!given && family == Family::kQwen3) given = kQwen3HeadDim;
  if (!given && config.hidden_size % config.n_heads != 0) {
    reader.reject("hidden_size", " ", config.hidden_size,
                  " is not a multiple of num_attention_heads ", config.n_heads,
                  ", and head_dim is missing");
  }
  config.head_dim = given.value_or(config.hidden_size / config.n_heads);
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    reader.reject("head_dim", " ", config.head_dim,
                  " is not supported; it must be an even number from 2 to ", kMaxHeadDim);
  }
}

void read_tokens(const ConfigReader& reader, ModelConfig& config) {
  const std::optional<int64_t> bos =
      reader.optional_integer("bos_token_id", 0, config.vocab_size - 1);
  if (bos) config.bos = static_cast<int32_t>(*bos);
  config.eos = reader.token_ids("eos_token_id", config.vocab_size);
}

/// What no key says, and attention_bias where the family has it.
void read_blocks(const ConfigReader& reader, Family family, ModelConfig& config) {
  const bool bias = reader.boolean_or("attention_bias", false);
  config.qkv_bias = bias || family == Family::kQwen2;
  config.o_bias = bias && family != Family::kQwen2;
  config.qk_norm = family == Family::kQwen3;
  config.window = read_window(reader, family, config.n_layers);
}

}  // namespace

ModelConfig parse_config(std::string_view text, std::string_view name) {
  const Json root = parse_json(text, name);
  const ConfigReader reader(root, name);
  const Family family = read_family(reader);
  refuse_unsupported(reader);

  ModelConfig config;
  config.hidden_size = reader.integer("hidden_size", 1, kMaxHidden);
  config.intermediate_size = reader.integer("intermediate_size", 1, kMaxIntermediate);
  config.n_layers = reader.integer("num_hidden_layers", 1, kMaxLayers);
  read_heads(reader, config);
  read_head_dim(reader, family, config);
  read_blocks(reader, family, config);
  config.vocab_size = reader.integer("vocab_size", 1, kMaxVocab);
  config.max_positions = reader.optional_integer("max_position_embeddings", 1, kMaxPositions)
                             .value_or(kDefaultPositions);
  config.rms_norm_eps =
      static_cast<float>(reader.optional_number("rms_norm_eps", 1e-30, 1.0).value_or(kDefaultEps));
  read_rope(reader, config);
  config.tied_embeddings = reader.boolean_or("tie_word_embeddings", false);
  read_tokens(reader, config);
  return config;
}

ModelConfig read_config(const std::filesystem::path& dir) {
  require_directory(dir);
  const std::filesystem::path path = dir / "config.json";
  if (!path_exists(path)) fail(ExitCode::kModel, path.string(), ": missing");
  ModelConfig config = parse_config(read_model_file(path, kMaxFileBytes), path.string());
  const std::filesystem::path generation_path = dir / "generation_config.json";
  if (path_exists(generation_path)) read_generation_config(generation_path, config);
  return config;
}

}  // namespace winnow
