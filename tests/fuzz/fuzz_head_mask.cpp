// libFuzzer entry: any bytes as a file of --kv-heads, for a model of 2 layers and 3 KV heads. What
// is accepted has a number for each of them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/error.h"
#include "src/kv/head_mask.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace winnow;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  ModelConfig config;
  config.n_layers = 2;
  config.n_kv_heads = 3;
  for (const std::string& text : {bytes, "0.5\t1\t" + bytes + "\n0\t1e-3\t.25\n"}) {
    try {
      const auto full = parse_head_mask(text, "heads.tsv", config, 0.5);
      fuzz::require(full.size() == 6 && std::ranges::all_of(full, [](int x) { return x < 2; }));
    } catch (const Error& error) {
      fuzz::require(error.code() == ExitCode::kModel);
    }
  }
  return 0;
}
