// libFuzzer entry: any bytes as tokenizer.json. What is accepted must encode and decode.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tokenizer/bpe_json.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/nfc.h"

namespace {

/// `"model": {..}` with all bytes and a few merges, which the fuzzer would hardly find.
std::string model_member() {
  std::string vocab;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string piece = winnow::byte_level_text(std::string(1, static_cast<char>(byte)));
    const std::string escape = piece == "\"" || piece == "\\" ? "\\" : "";
    vocab += "\"" + escape + piece + "\":" + std::to_string(byte) + ",";
  }
  return "\"model\":{\"type\":\"BPE\",\"vocab\":{" + vocab +
         R"("th":256,"the":257,"\u0120the":258},"merges":["t h","th e","\u0120 the"]})";
}

void try_tokenizer(std::string_view json, std::string_view text) {
  try {
    const winnow::BpeTokenizer tokenizer(winnow::parse_bpe_json(json, "tokenizer.json"));
    tokenizer.decode(tokenizer.encode(text));
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) tokenizer.decode_piece(id, true);
  } catch (const winnow::Error& error) {
    if (error.code() != winnow::ExitCode::kModel) __builtin_trap();
  }
}

/// A text brought to form C stays as it is when it is brought there again.
void try_nfc(std::string_view text) {
  const std::string once = winnow::to_nfc(winnow::utf8_replace_invalid(text));
  if (winnow::to_nfc(once) != once) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string kModel = model_member();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try_tokenizer(bytes, bytes);
  try_tokenizer("{" + kModel + "," + std::string(bytes), bytes);
  try_tokenizer("{" + kModel +
                    R"(,"decoder":{"type":"ByteLevel"},"pre_tokenizer":)"
                    R"({"type":"ByteLevel","add_prefix_space":false},"added_tokens":[)" +
                    std::string(bytes) + "]}",
                bytes);
  try_nfc(bytes);
  return 0;
}
