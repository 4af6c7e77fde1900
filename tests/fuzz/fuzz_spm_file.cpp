// libFuzzer entry: any bytes as tokenizer.model. What the validator accepts, the library must load,
// and encode and decode with.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "tokenizer/spm.h"
#include "tokenizer/spm_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace winnow;
  const std::span<const uint8_t> bytes(data, size);
  SpmFile file;
  try {
    file = parse_spm_file(std::as_bytes(bytes), "fuzz");
  } catch (const Error&) {
    return 0;
  }
  const SpmTokenizer tokenizer(std::move(file), true, "fuzz");
  const std::string_view tail(reinterpret_cast<const char*>(data) + size - size / 8, size / 8);
  const std::vector<int32_t> ids = tokenizer.encode(tail);
  tokenizer.decode(ids);
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) tokenizer.decode_piece(id, true);
  return 0;
}
