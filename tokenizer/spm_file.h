// A sentencepiece file (tokenizer.model): a protocol buffer, read and checked here so that the
// library never sees a byte that was not.
//
//   1 pieces      {1 text, 2 score, 3 type}           in the order of their ids
//   2 trainer     {3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback,
//                  40 unk_id, 41 bos_id, 42 eos_id, 44 unk_surface}
//   3 normalizer  {2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces,
//                  5 escape_whitespaces}
//   4 self test, 5 denormalizer {as 3}
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

/// U+2581, the space as pieces spell it.
inline constexpr std::string_view kSpmSpace = "\xE2\x96\x81";

/// The numbers are the file's.
enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,      // <unk>: stands for what has no piece
  kControl = 3,      // <s>, </s>: never found in text
  kUserDefined = 4,  // found in text before all others
  kUnused = 5,       // never the result of encode
  kByte = 6,         // <0x00>..<0xFF>: one byte of a character that has no piece
};

enum class SpmModel : uint8_t { kUnigram = 1, kBpe = 2 };

struct SpmPiece {
  std::string text;
  float score = 0;  // BPE: the pair with the highest score is joined first
  PieceType type = PieceType::kNormal;
};

/// What a file says. Where it is silent, these defaults, which are the format's, hold.
struct SpmFile {
  std::vector<SpmPiece> pieces;
  SpmModel model = SpmModel::kUnigram;
  bool byte_fallback = false;            // text without a piece becomes byte pieces, not <unk>
  bool add_dummy_prefix = true;          // encode puts a space in front of a text
  bool remove_extra_whitespaces = true;  // encode trims a text, and joins its runs of spaces
  int32_t unk = 0;                       // piece of type kUnknown
  int32_t bos = 1;                       // of type kControl; -1: none
  int32_t eos = 2;                       // of type kControl; -1: none
  std::string unk_surface = " \xE2\x81\x87 ";  // what <unk> becomes in text
};

/// The byte that a piece of type kByte stands for: 0x41 for "<0x41>". Nothing for other spellings.
std::optional<uint8_t> spm_byte(std::string_view text);

inline constexpr uint64_t kMaxSpmFileBytes = uint64_t{16} << 20;

/// Reads and checks the bytes of a file; `name` is its name in messages. Fails with kModel for what
/// is malformed, and for what is not supported: word and character models, text normalization by
/// table (precompiled_charsmap), spaces as suffixes or unescaped.
SpmFile parse_spm_file(std::span<const std::byte> bytes, std::string_view name);

/// `file` in the file's format, with nothing in it but what SpmFile holds.
std::string serialize_spm_file(const SpmFile& file);

}  // namespace winnow
