// Llama-3's tokenizer.model: a rank file of the tiktoken library. Each line is a piece in base64
// and its rank, which is also its id:
//
//   IQ== 0       "!"
//   Ig== 1       "\""
//
// There are no merges: two neighbours are joined where their bytes together are a piece, pieces of
// low rank first. Control tokens are not in the file: they follow its pieces.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe_model.h"

namespace winnow {

/// Pieces in Llama-3's file. Other models' files, with other numbers of them, need other patterns
/// and control tokens.
inline constexpr size_t kLlama3Pieces = 128000;

/// Whether `bytes` look like a rank file, by their first line.
bool is_rank_file(std::string_view bytes);

/// The pieces of a rank file as bytes, by their ranks; `name` is the file's name in messages. Fails
/// with kModel for what is malformed, for ranks that are there twice or missing, and for pieces
/// that are there twice, are empty, or have more than 256 bytes.
std::vector<std::string> parse_rank_file(std::string_view text, std::string_view name);

/// Llama-3's tokenizer with `pieces`, which are in the order of their ranks and hold each byte; the
/// 256 control tokens of Llama 3.1 follow them. (Llama 3.0 called some of these "reserved".)
BpeModel llama3_model(std::span<const std::string> pieces, std::string_view name);

}  // namespace winnow
