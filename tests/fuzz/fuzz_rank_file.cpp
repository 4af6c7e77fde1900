// libFuzzer entry: any bytes as Llama-3's rank file. With the pieces that it gives, and the bytes
// where it has none of them, every text comes back from its ids.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/tiktoken.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace winnow;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  is_rank_file(bytes);
  std::vector<std::string> pieces;
  try {
    pieces = parse_rank_file(bytes, "fuzz");
  } catch (const Error& error) {
    if (error.code() != ExitCode::kModel) __builtin_trap();
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string piece(1, static_cast<char>(byte));
    if (std::ranges::count(pieces, piece) == 0) pieces.push_back(piece);
  }
  try {
    const BpeTokenizer tokenizer(llama3_model(pieces, "fuzz"));
    if (tokenizer.decode(tokenizer.encode(bytes)) != utf8_replace_invalid(bytes)) __builtin_trap();
  } catch (const Error& error) {  // a piece that is there twice
    if (error.code() != ExitCode::kModel) __builtin_trap();
  }
  return 0;
}
