// Places where a text can be cut in two so that its parts, tokenized apart, give the tokens of the
// whole. Short parts keep the tokenizer's working memory small and in cache.
//
// BPE joins neighbours only into pieces of its vocabulary. Where no piece has the two characters
// around a place side by side, nothing is ever joined across it:
//
//   "brown fox":  no piece holds "n▁"   ->  "brown" | "▁fox"
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/spm_file.h"

namespace winnow {

class TextCuts {
 public:
  explicit TextCuts(std::span<const SpmPiece> pieces);

  /// The first place at or after byte `from` where `text` may be cut; its size where there is none.
  /// A space in `text` counts as the pieces' "▁". Time is linear in the bytes passed over, up to a
  /// logarithm.
  size_t next(std::string_view text, size_t from) const;

 private:
  bool joined(uint32_t left, uint32_t right) const;

  std::vector<uint64_t> pairs_;  // left << 32 | right, sorted: side by side in some piece
};

}  // namespace winnow
