// The tokenizer of a sentencepiece file.
#pragma once

#include <sentencepiece_processor.h>

#include "tokenizer/spm_file.h"
#include "tokenizer/text_cuts.h"
#include "tokenizer/tokenizer.h"

namespace winnow {

/// Encodes through the sentencepiece library, decodes from the pieces. What the library does to a
/// text beforehand (space in front, spaces trimmed) is done here, so that a text can be handed to
/// it in parts. decode() differs from the library's Decode in two points:
/// - byte pieces that are no UTF-8 stay bytes; the library turns each into U+FFFD, and ends a
///   character at a control token;
/// - at the start of a text one space is taken away; with remove_extra_whitespaces the library
///   takes one from each piece until there is text.
class SpmTokenizer final : public Tokenizer {
 public:
  /// `name` is the file's name in messages. Fails with kModel where the library refuses the file.
  SpmTokenizer(SpmFile file, bool adds_bos, std::string_view name);

  int32_t vocab_size() const override { return static_cast<int32_t>(file_.pieces.size()); }

  /// Fails with kPrompt for more than 64 MiB, or 8 MiB without a place to cut. Invalid UTF-8
  /// becomes U+FFFD, one for each byte.
  std::vector<int32_t> encode(std::string_view text) const override;

  std::string piece(int32_t id) const override { return at(id).text; }
  std::string decode_piece(int32_t id, bool at_start) const override;
  std::optional<int32_t> bos() const override;
  std::optional<int32_t> eos() const override;
  bool adds_bos() const override { return adds_bos_ && bos().has_value(); }
  std::optional<int32_t> control_id(std::string_view piece) const override;

 private:
  const SpmPiece& at(int32_t id) const;
  std::string prepared(std::string_view text) const;
  void append_ids(std::string_view part, std::vector<int32_t>& ids) const;

  SpmFile file_;
  bool adds_bos_;
  bool can_cut_;
  TextCuts cuts_;
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace winnow
