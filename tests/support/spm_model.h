// A small valid sentencepiece file to break or to encode with.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/spm_file.h"

namespace winnow::test {

/// The 256 byte pieces in hexadecimal order, from id `file.pieces.size()` on.
inline void add_byte_pieces(SpmFile& file) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string text = {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
    file.pieces.push_back({text, 0, PieceType::kByte});
  }
}

/// BPE with <unk>, <s>, </s>, the byte pieces, and `texts`, of which earlier ones are joined first.
inline SpmFile small_spm(const std::vector<std::string>& texts) {
  SpmFile file;
  file.model = SpmModel::kBpe;
  file.byte_fallback = true;
  file.remove_extra_whitespaces = false;
  file.pieces = {{"<unk>", 0, PieceType::kUnknown},
                 {"<s>", 0, PieceType::kControl},
                 {"</s>", 0, PieceType::kControl}};
  add_byte_pieces(file);
  float score = 0;
  for (const std::string& text : texts) file.pieces.push_back({text, score -= 1});
  return file;
}

}  // namespace winnow::test
