#include "tokenizer/bpe_model.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tokenizer/byte_level.h"

namespace winnow {
namespace {

constexpr int64_t kMaxIds = int64_t{1} << 20;
constexpr size_t kMaxTextBytes = 1024;
constexpr size_t kMaxMerges = size_t{1} << 24;
constexpr int64_t kMaxHoles = 4096;

/// Whether a byte occurs in valid UTF-8.
constexpr bool occurs_in_utf8(unsigned byte) {
  return byte < 0xC0 || (byte > 0xC1 && byte < 0xF5);
}

bool by_pair(const BpeMerge& a, const BpeMerge& b) {
  return std::tie(a.left, a.right) < std::tie(b.left, b.right);
}

bool same_pair(const BpeMerge& a, const BpeMerge& b) {
  return a.left == b.left && a.right == b.right;
}

}  // namespace

void BpeVocabulary::check_text(std::string_view what, std::string_view text) const {
  if (text.empty()) fail(ExitCode::kModel, name_, ": an empty ", what);
  if (text.size() > kMaxTextBytes) {
    fail(ExitCode::kModel, name_, ": the ", what, " ", quoted(text), " has ", text.size(),
         " bytes, more than ", kMaxTextBytes);
  }
  if (utf8_find_invalid(text) != std::string_view::npos) {
    fail(ExitCode::kModel, name_, ": the ", what, " ", quoted(text), " is no valid UTF-8");
  }
}

void BpeVocabulary::add_piece(std::string_view text, int64_t id) {
  check_text("piece", text);
  if (id < 0 || id >= kMaxIds) {
    fail(ExitCode::kModel, name_, ": the id ", id, " of ", quoted(text),
         " is out of range; ids are 0 to ", kMaxIds - 1);
  }
  const auto place = static_cast<size_t>(id);
  if (place < texts_.size() && !texts_[place].empty()) {
    fail(ExitCode::kModel, name_, ": the id ", id, " is given twice, to ", quoted(texts_[place]),
         " and to ", quoted(text));
  }
  if (!ids_.try_emplace(std::string(text), static_cast<int32_t>(id)).second) {
    fail(ExitCode::kModel, name_, ": the piece ", quoted(text), " is there twice");
  }
  if (place >= texts_.size()) texts_.resize(place + 1);
  texts_[place] = text;
}

void BpeVocabulary::add_merge(std::string_view left, std::string_view right,
                              std::string_view name) {
  const auto reject = [&](std::string_view unknown) {
    fail(ExitCode::kModel, name, ": merge ", merges_.size(), ", of ", quoted(left), " and ",
         quoted(right), ": ", quoted(unknown), " is no piece of the vocabulary");
  };
  const std::string joined = std::string(left).append(right);
  const std::optional<int32_t> left_id = find(left);
  if (!left_id) reject(left);
  const std::optional<int32_t> right_id = find(right);
  if (!right_id) reject(right);
  const std::optional<int32_t> result = find(joined);
  if (!result) reject(joined);
  add_merge({*left_id, *right_id, *result, static_cast<uint32_t>(merges_.size())});
}

void BpeVocabulary::add_merge(const BpeMerge& merge) {
  if (merges_.size() == kMaxMerges) {
    fail(ExitCode::kModel, name_, ": more than ", kMaxMerges, " merges");
  }
  merges_.push_back(merge);
}

void BpeVocabulary::add_token(AddedToken token) {
  check_text("added token", token.content);
  const std::optional<int32_t> id = find(token.content);
  if (id && *id != token.id) {
    fail(ExitCode::kModel, name_, ": the added token ", quoted(token.content), " has the id ",
         token.id, ", but the vocabulary says ", *id);
  }
  if (!id) add_piece(token.content, token.id);
  if (!token_places_.try_emplace(token.content, tokens_.size()).second) {
    fail(ExitCode::kModel, name_, ": the added token ", quoted(token.content), " is there twice");
  }
  tokens_.push_back(std::move(token));
}

void BpeVocabulary::make_control(std::string_view text) {
  const std::optional<int32_t> id = find(text);
  const auto place = token_places_.find(std::string(text));
  if (place != token_places_.end()) {
    tokens_[place->second].special = true;
  } else if (id) {
    add_token({.content = std::string(text), .id = *id, .special = true});
  }
}

void BpeVocabulary::check_complete() {
  const auto holes = std::ranges::count_if(texts_, &std::string::empty);
  if (holes > kMaxHoles) {
    fail(ExitCode::kModel, name_, ": ", holes, " of ", texts_.size(),
         " ids have no piece; at most ", kMaxHoles, " may");
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string text = byte_level_text(std::string(1, static_cast<char>(byte)));
    if (occurs_in_utf8(byte) && !find(text)) {
      fail(ExitCode::kModel, name_, ": the byte ", byte, ", spelled ", quoted(text),
           ", is no piece; this is no byte-level vocabulary");
    }
  }
  std::ranges::sort(merges_, by_pair);
  const auto twice = std::ranges::adjacent_find(merges_, same_pair);
  if (twice != merges_.end()) {
    fail(ExitCode::kModel, name_, ": the merge of ",
         quoted(texts_[static_cast<size_t>(twice->left)]), " and ",
         quoted(texts_[static_cast<size_t>(twice->right)]), " is there twice");
  }
}

std::optional<int32_t> BpeVocabulary::find(std::string_view text) const {
  const auto at = ids_.find(std::string(text));
  return at == ids_.end() ? std::nullopt : std::optional(at->second);
}

const AddedToken* BpeVocabulary::find_token(std::string_view content) const {
  const auto at = token_places_.find(std::string(content));
  return at == token_places_.end() ? nullptr : &tokens_[at->second];
}

}  // namespace winnow
