#include "tokenizer/bpe_tokenizer.h"

#include <optional>
#include <set>
#include <utility>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/nfc.h"

namespace winnow {
namespace {

BpeEncoder::ByteIds byte_ids_of(const BpeVocabulary& vocabulary) {
  BpeEncoder::ByteIds ids = {};
  for (size_t byte = 0; byte < ids.size(); ++byte) {
    ids[byte] =
        vocabulary.find(byte_level_text(std::string(1, static_cast<char>(byte)))).value_or(-1);
  }
  return ids;
}

/// The added tokens; contents that are looked for in form C are in it themselves.
std::vector<AddedToken> tokens_in_form(const BpeModel& model) {
  std::vector<AddedToken> tokens = model.vocabulary.tokens();
  for (AddedToken& token : tokens) {
    if (token.normalized && model.nfc) token.content = to_nfc(token.content);
  }
  return tokens;
}

/// Those of `tokens` that are looked for before normalization, or those after it. Where form C made
/// two contents the same, the first token stands for both.
std::vector<AddedToken> tokens_of_stage(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> out;
  std::set<std::string_view> contents;
  for (const AddedToken& token : tokens) {
    if (token.normalized == normalized && contents.insert(token.content).second) {
      out.push_back(token);
    }
  }
  return out;
}

}  // namespace

BpeTokenizer::BpeTokenizer(BpeModel model)
    : merges_(model.vocabulary.merges(), model.vocabulary.texts().size()),
      byte_ids_(byte_ids_of(model.vocabulary)),
      raw_tokens_(tokens_of_stage(tokens_in_form(model), false)),
      normalized_tokens_(tokens_of_stage(tokens_in_form(model), true)),
      pre_tokenizer_(model.split_patterns),
      nfc_(model.nfc),
      bos_(model.bos),
      eos_(model.eos),
      adds_bos_(model.adds_bos),
      stop_ids_(std::move(model.stop_ids)) {
  for (const std::string& text : model.vocabulary.texts()) pieces_.push_back({text});
  sort_tokens(tokens_in_form(model));
  if (!model.ignore_merges) return;
  for (size_t id = 0; id < pieces_.size(); ++id) {
    if (pieces_[id].kind != Kind::kBytes || pieces_[id].text.empty()) continue;
    std::optional<std::string> bytes = byte_level_bytes(pieces_[id].text);
    if (bytes) words_.emplace(std::move(*bytes), static_cast<int32_t>(id));
  }
}

/// Says what kind of piece each added token is.
void BpeTokenizer::sort_tokens(const std::vector<AddedToken>& tokens) {
  std::vector<bool> spelled(pieces_.size(), false);
  for (const int32_t id : byte_ids_) {
    if (id >= 0) spelled[static_cast<size_t>(id)] = true;
  }
  for (const BpeMerge& merge : merges_.all()) spelled[static_cast<size_t>(merge.result)] = true;
  for (const AddedToken& token : tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (spelled[id]) continue;
    pieces_[id].text = token.content;
    pieces_[id].kind = token.special ? Kind::kControl : Kind::kAddedText;
    if (token.special) controls_.emplace(token.content, token.id);
  }
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  check_length(text);
  std::string repaired;
  if (utf8_find_invalid(text) != std::string_view::npos) {
    repaired = utf8_replace_invalid(text);
    text = repaired;
  }

  std::vector<int32_t> ids;
  BpeEncoder encoder(merges_, byte_ids_);
  raw_tokens_.split(text, [&](std::string_view part, const AddedToken* token) {
    if (token != nullptr) {
      ids.push_back(token->id);
    } else if (nfc_) {
      append_text(to_nfc(part), encoder, ids);
    } else {
      append_text(part, encoder, ids);
    }
  });
  return ids;
}

void BpeTokenizer::append_text(std::string_view text, BpeEncoder& encoder,
                               std::vector<int32_t>& ids) const {
  normalized_tokens_.split(text, [&](std::string_view part, const AddedToken* token) {
    if (token != nullptr) {
      ids.push_back(token->id);
      return;
    }
    pre_tokenizer_.split(part, [&](std::string_view word) { append_word(word, encoder, ids); });
  });
}

void BpeTokenizer::append_word(std::string_view word, BpeEncoder& encoder,
                               std::vector<int32_t>& ids) const {
  const auto whole = words_.find(word);
  if (whole != words_.end()) {
    ids.push_back(whole->second);
  } else {
    encoder.append_ids(word, ids);
  }
}

const BpeTokenizer::Piece& BpeTokenizer::at(int32_t id) const {
  WINNOW_CHECK(id >= 0 && id < vocab_size(), "token id ", id, " of ", vocab_size());
  return pieces_[static_cast<size_t>(id)];
}

std::string BpeTokenizer::decode_piece(int32_t id, bool /*at_start*/) const {
  const Piece& piece = at(id);
  switch (piece.kind) {
    case Kind::kControl: return {};
    case Kind::kAddedText: return piece.text;
    case Kind::kBytes: break;
  }
  return byte_level_bytes(piece.text).value_or(piece.text);
}

std::optional<int32_t> BpeTokenizer::control_id(std::string_view piece) const {
  const auto at = controls_.find(piece);
  return at == controls_.end() ? std::nullopt : std::optional(at->second);
}

}  // namespace winnow
