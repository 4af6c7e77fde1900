// libFuzzer entry: any bytes as config.json, and as the rest of one that has all keys. What is
// accepted is a network whose numbers fit together. generation_config.json is read into it.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "tests/fuzz/memory_file.h"
#include "weights/config.h"
#include "weights/generation_config.h"

namespace {

using namespace winnow;
using fuzz::require;

void try_generation_config(std::string_view text, ModelConfig config) {
  const fuzz::MemoryFile file(text);
  try {
    read_generation_config(file.path(), config);
    for (const int32_t id : config.eos) require(id >= 0);
  } catch (const Error& error) {
    require(error.code() == ExitCode::kModel);
  }
}

void try_config(const std::string& text, std::string_view generation) {
  try {
    const ModelConfig config = parse_config(text, "config.json");
    require(config.n_layers > 0 && config.n_heads > 0 && config.n_kv_heads > 0);
    require(config.n_heads % config.n_kv_heads == 0 && config.group() <= kMaxGroup);
    require(config.head_dim > 0 && config.head_dim <= kMaxHeadDim && config.head_dim % 2 == 0);
    require(config.hidden_size > 0 && config.intermediate_size > 0 && config.vocab_size > 0);
    require(config.rms_norm_eps > 0 && config.rope_theta > 0);
    require(config.context() > 0 && config.window >= 0);
    for (const int32_t id : config.eos) require(id >= 0 && id < config.vocab_size);
    try_generation_config(generation, config);
  } catch (const Error& error) {
    require(error.code() == ExitCode::kModel);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const std::string sound =
      R"({"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,)"
      R"("num_attention_heads":4,"num_key_value_heads":2,"vocab_size":300,"rms_norm_eps":1e-5,)"
      R"("max_position_embeddings":128,"hidden_act":"silu")";
  try_config(bytes, bytes);
  try_config(sound + "}", bytes);
  try_config(sound + "," + bytes + "}", "{}");
  try_config(sound + ",\"rope_scaling\":{" + bytes + "}}", "{}");
  return 0;
}
