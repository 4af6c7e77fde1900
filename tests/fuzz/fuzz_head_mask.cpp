// libFuzzer entry: any bytes as a mask file of --kv-heads. What is taken has a number for each
// head.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "src/base/error.h"
#include "src/kv/head_mask.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace winnow;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ModelConfig config;
  config.n_layers = 2;
  config.n_kv_heads = 3;
  try {
    if (parse_head_mask(text, "fuzz", config, 0.5).size() != 6) __builtin_trap();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kModel) __builtin_trap();
  }
  return 0;
}
