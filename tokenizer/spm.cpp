#include "tokenizer/spm.h"

#include <algorithm>
#include <utility>

#include "src/base/error.h"
#include "src/base/out_of_memory.h"

namespace winnow {
namespace {

constexpr size_t kMaxUncutBytes = size_t{8} << 20;  // the library needs some 200 bytes for each
constexpr size_t kPartBytes = size_t{16} << 10;

/// Whether parts give the tokens of the whole. Not in unigram models, whose sums of scores round
/// differently from another start on; nor with unused pieces, which the library takes apart the way
/// they were last joined anywhere in the text.
bool parts_are_exact(const SpmFile& file) {
  const auto is_unused = [](const SpmPiece& piece) { return piece.type == PieceType::kUnused; };
  return file.model == SpmModel::kBpe &&
         std::none_of(file.pieces.begin(), file.pieces.end(), is_unused);
}

/// The file as the library gets it: it must not add or take away spaces at each part's ends.
std::string serialize_without_space_rules(SpmFile file) {
  file.add_dummy_prefix = false;
  file.remove_extra_whitespaces = false;
  return serialize_spm_file(file);
}

/// Without spaces at both ends, and one for each run of them inside. "▁" in a text is a space to
/// sentencepiece, but it takes it away only at the end.
std::string without_extra_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char byte : text) {
    if (byte == ' ' && (out.empty() || out.back() == ' ')) continue;
    out.push_back(byte);
  }
  while (out.ends_with(' ') || out.ends_with(kSpmSpace)) {
    out.resize(out.size() - (out.ends_with(' ') ? 1 : kSpmSpace.size()));
  }
  return out;
}

std::string with_spaces(std::string_view piece) {
  std::string out;
  out.reserve(piece.size());
  while (!piece.empty()) {
    const bool space = piece.starts_with(kSpmSpace);
    out.push_back(space ? ' ' : piece[0]);
    piece.remove_prefix(space ? kSpmSpace.size() : 1);
  }
  return out;
}

}  // namespace

SpmTokenizer::SpmTokenizer(SpmFile file, bool adds_bos, std::string_view name)
    : file_(std::move(file)),
      adds_bos_(adds_bos),
      can_cut_(parts_are_exact(file_)),
      cuts_(file_.pieces) {
  const std::string bytes = serialize_without_space_rules(file_);
  const EndOutOfMemory ends;
  const auto status = processor_.LoadFromSerializedProto(bytes);
  if (!status.ok()) fail(ExitCode::kModel, name, ": sentencepiece: ", status.ToString());
}

std::vector<int32_t> SpmTokenizer::encode(std::string_view text) const {
  check_length(text);
  const std::string whole = prepared(text);
  std::vector<int32_t> ids;
  for (std::string_view rest = whole; !rest.empty();) {
    const size_t end = can_cut_ ? cuts_.next(rest, kPartBytes) : rest.size();
    append_ids(rest.substr(0, end), ids);
    rest.remove_prefix(end);
  }
  return ids;
}

std::string SpmTokenizer::prepared(std::string_view text) const {
  std::string out = file_.remove_extra_whitespaces ? without_extra_spaces(text) : std::string(text);
  if (file_.add_dummy_prefix && !out.empty()) out.insert(0, 1, ' ');
  return out;
}

void SpmTokenizer::append_ids(std::string_view part, std::vector<int32_t>& ids) const {
  if (part.size() > kMaxUncutBytes) {
    fail(ExitCode::kPrompt, "the text has ", part.size(),
         " bytes without a place to cut it; at most ", kMaxUncutBytes, " can be tokenized");
  }
  std::vector<int> part_ids;
  const EndOutOfMemory ends;
  const auto status = processor_.Encode(part, &part_ids);
  WINNOW_CHECK(status.ok(), status.ToString());
  // Without byte pieces, neighbours that have no piece are one <unk>, also across a cut.
  const bool same_unknown = !file_.byte_fallback && !ids.empty() && !part_ids.empty() &&
                            ids.back() == file_.unk && part_ids.front() == file_.unk;
  ids.insert(ids.end(), part_ids.begin() + (same_unknown ? 1 : 0), part_ids.end());
}

const SpmPiece& SpmTokenizer::at(int32_t id) const {
  WINNOW_CHECK(id >= 0 && id < vocab_size(), "token id ", id, " of ", vocab_size());
  return file_.pieces[static_cast<size_t>(id)];
}

std::string SpmTokenizer::decode_piece(int32_t id, bool at_start) const {
  const SpmPiece& piece = at(id);
  switch (piece.type) {
    case PieceType::kControl: return {};
    case PieceType::kUnknown: return file_.unk_surface;
    case PieceType::kByte: return std::string(1, static_cast<char>(*spm_byte(piece.text)));
    default: break;
  }
  std::string_view text = piece.text;
  if (at_start && file_.add_dummy_prefix && text.starts_with(kSpmSpace)) {
    text.remove_prefix(kSpmSpace.size());
  }
  return with_spaces(text);
}

std::optional<int32_t> SpmTokenizer::bos() const {
  return file_.bos < 0 ? std::nullopt : std::optional(file_.bos);
}

std::optional<int32_t> SpmTokenizer::eos() const {
  return file_.eos < 0 ? std::nullopt : std::optional(file_.eos);
}

std::optional<int32_t> SpmTokenizer::control_id(std::string_view piece) const {
  for (size_t id = 0; id < file_.pieces.size(); ++id) {
    if (file_.pieces[id].type == PieceType::kControl && file_.pieces[id].text == piece) {
      return static_cast<int32_t>(id);
    }
  }
  return std::nullopt;
}

}  // namespace winnow
