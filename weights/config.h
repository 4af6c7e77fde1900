// config.json: what the network looks like, read by its keys and never by a model's name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace winnow {

constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kMaxGroup = 32;  // query heads of a KV head: the bits of a row's mask

/// The shape of a Llama-family network. Every number was range-checked by read_config.
struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;     // query heads
  int64_t n_kv_heads = 0;  // key/value heads; divides n_heads
  int64_t head_dim = 0;    // even, at most 256
  int64_t vocab_size = 0;
  int64_t max_positions = 0;  // tokens the model was trained for
  float rms_norm_eps = 0;
  double rope_theta = 0;
  bool tied_embeddings = false;
  int32_t bos = -1;          // -1: none named
  std::vector<int32_t> eos;  // may be empty

  int64_t group() const { return n_heads / n_kv_heads; }  // query heads per KV head
  int64_t q_size() const { return n_heads * head_dim; }   // width of q and of the attention output
  int64_t kv_size() const { return n_kv_heads * head_dim; }  // width of k and of v
  int64_t qkv_size() const { return q_size() + 2 * kv_size(); }
};

/// Reads DIR/config.json, and the stop tokens of DIR/generation_config.json where that exists (they
/// overrule). Fails with kModel, naming the key, for what is malformed, out of range, or not
/// implemented by the forward pass.
ModelConfig read_config(const std::filesystem::path& dir);

/// The same from text; `name` is the file's name in messages.
ModelConfig parse_config(std::string_view text, std::string_view name);

}  // namespace winnow
