// config.json: what the network looks like, read by its keys and never by a model's name.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace winnow {

constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kMaxGroup = 32;  // query heads of a KV head: the bits of a row's mask

/// How the frequencies of rotary positions are changed, so that a network reads longer texts than
/// it was first trained for. The formulas are in src/rope.h.
enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLlama3 };

struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1;               // at least 1
  int64_t original_positions = 0;  // dynamic, yarn, llama3: tokens of the first training
  double low_freq_factor = 1;      // llama3
  double high_freq_factor = 4;     // llama3: greater than low_freq_factor
  double beta_fast = 32;           // yarn
  double beta_slow = 1;            // yarn
  bool truncate = true;            // yarn: the ramp begins and ends at whole pairs
  double attention_factor = 1;     // yarn: cosines and sines are multiplied by it

  bool operator==(const RopeScaling&) const = default;
};

/// How generation_config.json would draw tokens: what it names, and nothing where it names nothing.
struct SamplingDefaults {
  bool do_sample = false;  // false: the likeliest token is taken
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repeat_penalty;
};

/// The shape of a Llama-family network. Every number was range-checked by read_config.
struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;     // query heads
  int64_t n_kv_heads = 0;  // key/value heads; divides n_heads
  int64_t head_dim = 0;    // even, at most 256
  int64_t vocab_size = 0;
  int64_t max_positions = 0;  // max_position_embeddings
  float rms_norm_eps = 0;
  double rope_theta = 0;
  RopeScaling rope;
  int64_t window = 0;     // a token sees so many, itself included; 0: all before it
  bool qkv_bias = false;  // q, k and v have a bias
  bool o_bias = false;    // the attention's output projection has one
  bool qk_norm = false;   // q and k are normed head by head, before they are rotated
  bool tied_embeddings = false;
  int32_t bos = -1;          // -1: none named
  std::vector<int32_t> eos;  // may be empty
  SamplingDefaults sampling;

  int64_t group() const { return n_heads / n_kv_heads; }  // query heads per KV head
  int64_t q_size() const { return n_heads * head_dim; }   // width of q and of the attention output
  int64_t kv_size() const { return n_kv_heads * head_dim; }  // width of k and of v
  int64_t qkv_size() const { return q_size() + 2 * kv_size(); }

  /// Tokens that the positions are made for. yarn and dynamic stretch what was there at first;
  /// many files name the stretched length as max_position_embeddings, and many do not.
  int64_t context() const {
    if (rope.type != RopeType::kYarn && rope.type != RopeType::kDynamic) return max_positions;
    const double stretched = rope.factor * static_cast<double>(rope.original_positions);
    return std::max(max_positions, static_cast<int64_t>(stretched));
  }
};

/// Reads DIR/config.json, and from DIR/generation_config.json, where that exists, the stop tokens
/// (they overrule) and how tokens are drawn. Fails with kModel, naming the key, for what is
/// malformed, out of range, or not implemented by the forward pass.
ModelConfig read_config(const std::filesystem::path& dir);

/// The same from text, without generation_config.json; `name` is the file's name in messages.
ModelConfig parse_config(std::string_view text, std::string_view name);

}  // namespace winnow
