// What the files of a byte-level BPE tokenizer say, checked as it comes in, whatever their form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"

namespace winnow {

inline constexpr uint64_t kMaxBpeFileBytes = uint64_t{64} << 20;

/// Pieces, merges and added tokens. Every function that adds fails with kModel, naming the file and
/// what is wrong.
class BpeVocabulary {
 public:
  /// `name` is the file's name in messages.
  explicit BpeVocabulary(std::string_view name) : name_(name) {}

  /// A piece as the byte alphabet spells it. Refused are texts that are empty, longer than 1024
  /// bytes, no UTF-8 or there already, and ids below 0, of 2^20 or more, or taken.
  void add_piece(std::string_view text, int64_t id);

  /// The next merge of the list, which the file `name` has: two pieces that are there and make one
  /// that is.
  void add_merge(std::string_view left, std::string_view right, std::string_view name);

  /// A merge of any rank.
  void add_merge(const BpeMerge& merge);

  /// An added token, whose content is a piece with its id, or neither is there yet.
  void add_token(AddedToken token);

  /// Makes a control token of the piece `text`, if there is one.
  void make_control(std::string_view text);

  /// To be called when all is added. Refused are more than 4096 ids without a piece, bytes of
  /// UTF-8 that are no piece, and merges that are there twice.
  void check_complete();

  std::optional<int32_t> find(std::string_view text) const;
  const AddedToken* find_token(std::string_view content) const;

  const std::string& name() const { return name_; }
  const std::vector<std::string>& texts() const { return texts_; }  // by id; empty: no such id
  const std::vector<BpeMerge>& merges() const { return merges_; }   // sorted once complete
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  void check_text(std::string_view what, std::string_view text) const;

  std::string name_;
  std::vector<std::string> texts_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<BpeMerge> merges_;
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> token_places_;  // in tokens_, by content
};

/// All that a byte-level BPE tokenizer is made of.
struct BpeModel {
  BpeVocabulary vocabulary;
  bool nfc = false;            // texts are brought to Unicode's form C first
  bool ignore_merges = false;  // a word that is a piece stays whole, whatever the merges say
  std::vector<std::string> split_patterns = {};  // as PreTokenizer takes them

  std::optional<int32_t> bos = {};
  std::optional<int32_t> eos = {};
  bool adds_bos = false;
  std::vector<int32_t> stop_ids = {};
};

}  // namespace winnow
