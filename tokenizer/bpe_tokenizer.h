// The tokenizer of byte-level BPE: GPT-2, Llama-3, Qwen2 and their relatives.
//
//   text -> added tokens cut out -> form C -> words -> bytes -> merges -> ids
//
// A text is always valid UTF-8 in here, and every byte of it has a piece, so that nothing is ever
// unknown and decode gives back what encode was given (in form C, where the model asks for it).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace winnow {

/// Added tokens that are special are control tokens, unless they are a byte or a merge makes them:
/// no text becomes a control token.
class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(BpeModel model);

  int32_t vocab_size() const override { return static_cast<int32_t>(pieces_.size()); }

  /// Fails with kPrompt for more than 64 MiB. Invalid UTF-8 becomes U+FFFD, one for each maximal
  /// part of a character.
  std::vector<int32_t> encode(std::string_view text) const override;

  /// As the byte alphabet spells it; the empty text for an id that has no piece.
  std::string piece(int32_t id) const override { return at(id).text; }
  std::string decode_piece(int32_t id, bool at_start) const override;
  std::optional<int32_t> bos() const override { return bos_; }
  std::optional<int32_t> eos() const override { return eos_; }
  bool adds_bos() const override { return adds_bos_; }
  std::optional<int32_t> control_id(std::string_view piece) const override;
  std::vector<int32_t> stop_ids() const override { return stop_ids_; }

 private:
  enum class Kind : uint8_t {
    kBytes,      // the piece is in the byte alphabet
    kAddedText,  // the piece is text as it stands
    kControl,    // never found in text, and no text itself
  };
  struct Piece {
    std::string text;
    Kind kind = Kind::kBytes;
  };
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  void sort_tokens(const std::vector<AddedToken>& tokens);
  void append_text(std::string_view text, BpeEncoder& encoder, std::vector<int32_t>& ids) const;
  void append_word(std::string_view word, BpeEncoder& encoder, std::vector<int32_t>& ids) const;
  const Piece& at(int32_t id) const;

  std::vector<Piece> pieces_;
  BpeMerges merges_;
  BpeEncoder::ByteIds byte_ids_;
  std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>> words_;  // by their bytes
  std::map<std::string, int32_t, std::less<>> controls_;
  AddedTokenFinder raw_tokens_;         // looked for first,
  AddedTokenFinder normalized_tokens_;  // and these after normalization
  PreTokenizer pre_tokenizer_;
  bool nfc_;
  std::optional<int32_t> bos_;
  std::optional<int32_t> eos_;
  bool adds_bos_;
  std::vector<int32_t> stop_ids_;
};

}  // namespace winnow
