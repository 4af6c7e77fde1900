// Text to token ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

/// A vocabulary and the rules that cut text into its pieces. Immutable once loaded.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual int32_t vocab_size() const = 0;

  /// The ids of `text`, which is valid UTF-8 and may hold NUL bytes. No BOS, no EOS; text that
  /// looks like a control token stays text. Time is linear in the text, up to a logarithm. Fails
  /// with kPrompt for texts that are too long to tokenize.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;

  /// The piece as the vocabulary spells it, for display: "▁the", "<0x0A>", "<s>".
  virtual std::string piece(int32_t id) const = 0;

  /// The bytes that `id` adds to a text: "▁the" gives " the", "<0xF0>" one byte of a longer
  /// character, control tokens nothing. `at_start` says that nothing was written before: there the
  /// space that encode put in front of the text is taken away again.
  virtual std::string decode_piece(int32_t id, bool at_start) const = 0;

  virtual std::optional<int32_t> bos() const = 0;
  virtual std::optional<int32_t> eos() const = 0;

  /// Whether a text opens with bos() by this model's custom.
  virtual bool adds_bos() const = 0;

  /// The id of the control token that the vocabulary spells `piece`: "<s>", "<|eot_id|>". This is
  /// the only way to such an id: encode never gives one.
  virtual std::optional<int32_t> control_id(std::string_view piece) const = 0;

  /// Ids that end a text by the tokenizer's own account: eos() first, where there is one.
  virtual std::vector<int32_t> stop_ids() const;

  /// All of `ids` as bytes; control tokens give nothing and do not count as a start.
  std::string decode(std::span<const int32_t> ids) const;

 protected:
  /// Fails with kPrompt where `text` has more than 64 MiB.
  static void check_length(std::string_view text);
};

/// Loads the tokenizer of a model directory. Of several, the first of these:
///
///   tokenizer.model            sentencepiece
///   tokenizer.json             byte-level BPE
///   tokenizer.model            Llama-3's rank file; told from the other by what is in it
///   vocab.json, merges.txt     byte-level BPE
///   encoder.json, vocab.bpe    the same, under GPT-2's first names
///
/// tokenizer_config.json is read where it exists. It has the last word on BOS and EOS, and says
/// which model the last two belong to. Fails with kModel for files that are missing or malformed,
/// naming what a file of another kind is.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& dir);

}  // namespace winnow
