#include "tokenizer/spm_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/utf8.h"
#include "tokenizer/protobuf.h"

namespace winnow {
namespace {

constexpr size_t kMinPieces = 256;
constexpr size_t kMaxPieces = size_t{1} << 20;
constexpr size_t kMaxPieceBytes = 256;
constexpr float kMaxScore = 1e30F;  // sums over the longest text stay finite

/// One file on its way through the reader.
struct Parser {
  std::string_view name;  // of the file
  SpmFile file;

  void read_model(std::span<const std::byte> message);
  void read_piece(std::span<const std::byte> message);
  void read_trainer(std::span<const std::byte> message);
  void read_normalizer(std::span<const std::byte> message);
  void read_denormalizer(std::span<const std::byte> message);

  void check_piece(const SpmPiece& piece) const;
  void check_unique() const;
  void check_unknown() const;
  void check_byte_pieces() const;
  void check_control(int32_t id, std::string_view key) const;

  std::span<const std::byte> bytes_of(const ProtoField& field, std::string_view key) const;
  std::string text_of(const ProtoField& field, std::string_view key) const;
  uint64_t number_of(const ProtoField& field, std::string_view key) const;
  int32_t id_of(const ProtoField& field, std::string_view key) const;

  template <class... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ExitCode::kModel, name, ": ", parts...);
  }
};

void Parser::read_model(std::span<const std::byte> message) {
  ProtoReader reader(message, name);
  while (const std::optional<ProtoField> field = reader.next()) {
    switch (field->number) {
      case 1: read_piece(bytes_of(*field, "piece")); break;
      case 2: read_trainer(bytes_of(*field, "trainer_spec")); break;
      case 3: read_normalizer(bytes_of(*field, "normalizer_spec")); break;
      case 4: bytes_of(*field, "self_test_data"); break;
      case 5: read_denormalizer(bytes_of(*field, "denormalizer_spec")); break;
      default: reject("is no sentencepiece file: it has a field number ", field->number);
    }
  }
}

void Parser::read_piece(std::span<const std::byte> message) {
  if (file.pieces.size() == kMaxPieces) reject("has more than ", kMaxPieces, " pieces");
  SpmPiece piece;
  ProtoReader reader(message, name);
  while (const std::optional<ProtoField> field = reader.next()) {
    if (field->number == 1) {
      piece.text = text_of(*field, "piece");
    } else if (field->number == 2) {
      if (field->kind != ProtoKind::kFixed32) reject("score is no 32-bit float");
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
    } else if (field->number == 3) {
      const uint64_t type = number_of(*field, "type");
      if (type < 1 || type > 6) reject("piece ", file.pieces.size(), " has the type ", type);
      piece.type = static_cast<PieceType>(type);
    }
  }
  check_piece(piece);
  file.pieces.push_back(std::move(piece));
}

void Parser::check_piece(const SpmPiece& piece) const {
  const size_t id = file.pieces.size();
  if (piece.text.empty()) reject("piece ", id, " is empty");
  if (!(std::abs(piece.score) <= kMaxScore)) {
    reject("piece ", id, " ", quoted(piece.text), " has the score ", piece.score);
  }
}

void Parser::read_trainer(std::span<const std::byte> message) {
  ProtoReader reader(message, name);
  while (const std::optional<ProtoField> field = reader.next()) {
    switch (field->number) {
      case 3: {
        const uint64_t model = number_of(*field, "model_type");
        if (model != 1 && model != 2) {
          reject("model_type ", model, " is not supported: neither 1 (unigram) nor 2 (BPE)");
        }
        file.model = static_cast<SpmModel>(model);
        break;
      }
      case 24:
        if (number_of(*field, "treat_whitespace_as_suffix") != 0) {
          reject("treat_whitespace_as_suffix is not supported");
        }
        break;
      case 35: file.byte_fallback = number_of(*field, "byte_fallback") != 0; break;
      case 40: file.unk = id_of(*field, "unk_id"); break;
      case 41: file.bos = id_of(*field, "bos_id"); break;
      case 42: file.eos = id_of(*field, "eos_id"); break;
      case 44: file.unk_surface = text_of(*field, "unk_surface"); break;
      default: break;
    }
  }
}

void Parser::read_normalizer(std::span<const std::byte> message) {
  ProtoReader reader(message, name);
  while (const std::optional<ProtoField> field = reader.next()) {
    switch (field->number) {
      case 2:
        if (!bytes_of(*field, "precompiled_charsmap").empty()) {
          reject("text normalization by table (precompiled_charsmap) is not supported");
        }
        break;
      case 3: file.add_dummy_prefix = number_of(*field, "add_dummy_prefix") != 0; break;
      case 4:
        file.remove_extra_whitespaces = number_of(*field, "remove_extra_whitespaces") != 0;
        break;
      case 5:
        if (number_of(*field, "escape_whitespaces") == 0) {
          reject("escape_whitespaces = false is not supported");
        }
        break;
      default: break;
    }
  }
}

/// Only its table would change text; all else in it has no effect.
void Parser::read_denormalizer(std::span<const std::byte> message) {
  ProtoReader reader(message, name);
  while (const std::optional<ProtoField> field = reader.next()) {
    if (field->number == 2 && !bytes_of(*field, "precompiled_charsmap").empty()) {
      reject("text denormalization by table (precompiled_charsmap) is not supported");
    }
  }
}

void Parser::check_unique() const {
  std::vector<std::string_view> texts;
  texts.reserve(file.pieces.size());
  for (const SpmPiece& piece : file.pieces) texts.push_back(piece.text);
  std::sort(texts.begin(), texts.end());
  const auto twice = std::adjacent_find(texts.begin(), texts.end());
  if (twice != texts.end()) reject("the piece ", quoted(*twice), " is there twice");
}

void Parser::check_unknown() const {
  const auto is_unknown = [](const SpmPiece& piece) { return piece.type == PieceType::kUnknown; };
  const auto count = std::count_if(file.pieces.begin(), file.pieces.end(), is_unknown);
  if (count != 1) reject("has ", count, " unknown pieces (<unk>); exactly one is needed");
  const bool in_range = file.unk >= 0 && static_cast<size_t>(file.unk) < file.pieces.size();
  if (!in_range || !is_unknown(file.pieces[static_cast<size_t>(file.unk)])) {
    reject("unk_id ", file.unk, " is not the id of the unknown piece");
  }
}

void Parser::check_byte_pieces() const {
  size_t count = 0;
  for (const SpmPiece& piece : file.pieces) {
    if (piece.type != PieceType::kByte) continue;
    if (!spm_byte(piece.text)) reject("the byte piece ", quoted(piece.text), " is no <0xNN>");
    ++count;
  }
  const size_t expected = file.byte_fallback ? 256 : 0;  // unique and well spelled: each one once
  if (count != expected) {
    reject("has ", count, " byte pieces; with byte_fallback ", file.byte_fallback ? "on" : "off",
           " there are ", expected);
  }
}

void Parser::check_control(int32_t id, std::string_view key) const {
  if (id < 0) return;
  if (static_cast<size_t>(id) >= file.pieces.size()) {
    reject(key, " ", id, " is past the last of ", file.pieces.size(), " pieces");
  }
  const SpmPiece& piece = file.pieces[static_cast<size_t>(id)];
  if (piece.type != PieceType::kControl) {
    reject(key, " ", id, " is ", quoted(piece.text), ", which is no control piece");
  }
}

std::span<const std::byte> Parser::bytes_of(const ProtoField& field, std::string_view key) const {
  if (field.kind != ProtoKind::kBytes) reject("is no sentencepiece file: ", key, " is a number");
  return field.bytes;
}

std::string Parser::text_of(const ProtoField& field, std::string_view key) const {
  const std::span<const std::byte> bytes = bytes_of(field, key);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.size() > kMaxPieceBytes) {
    reject("a ", key, " of ", text.size(), " bytes, more than ", kMaxPieceBytes);
  }
  if (text.find('\0') != std::string_view::npos) {
    reject("the ", key, " ", quoted(text), " holds a NUL byte");
  }
  const size_t invalid = utf8_find_invalid(text);
  if (invalid != std::string_view::npos) {
    reject("the ", key, " ", quoted(text), " has invalid UTF-8 at byte ", invalid);
  }
  return std::string(text);
}

uint64_t Parser::number_of(const ProtoField& field, std::string_view key) const {
  if (field.kind != ProtoKind::kVarint) reject("is no sentencepiece file: ", key, " is no integer");
  return field.value;
}

/// -1 says that there is no such piece; it is written as a 64-bit two's complement.
int32_t Parser::id_of(const ProtoField& field, std::string_view key) const {
  const auto id = static_cast<int64_t>(number_of(field, key));
  if (id < -1 || id >= int64_t{kMaxPieces}) reject(key, " ", id, " is out of range");
  return static_cast<int32_t>(id);
}

}  // namespace

std::optional<uint8_t> spm_byte(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const size_t high = kDigits.find(text[3]);
  const size_t low = kDigits.find(text[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

SpmFile parse_spm_file(std::span<const std::byte> bytes, std::string_view name) {
  Parser parser{name, {}};
  if (bytes.empty()) parser.reject("is empty");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view wrong = sniff_wrong_format(text.substr(0, 512));
  if (!wrong.empty()) parser.reject(wrong);
  if (bytes.size() > kMaxSpmFileBytes) {
    parser.reject("has ", bytes.size(), " bytes, more than ", kMaxSpmFileBytes);
  }

  parser.read_model(bytes);
  const size_t n = parser.file.pieces.size();
  if (n < kMinPieces) parser.reject("has ", n, " pieces; at least ", kMinPieces, " are expected");
  parser.check_unique();
  parser.check_unknown();
  parser.check_byte_pieces();
  parser.check_control(parser.file.bos, "bos_id");
  parser.check_control(parser.file.eos, "eos_id");
  return std::move(parser.file);
}

std::string serialize_spm_file(const SpmFile& file) {
  const auto signed_value = [](int32_t id) { return static_cast<uint64_t>(int64_t{id}); };
  ProtoWriter model;
  for (const SpmPiece& piece : file.pieces) {
    ProtoWriter out;
    out.bytes(1, piece.text);
    out.fixed32(2, std::bit_cast<uint32_t>(piece.score));
    out.varint(3, static_cast<uint64_t>(piece.type));
    model.bytes(1, out.message());
  }
  ProtoWriter trainer;
  trainer.varint(3, static_cast<uint64_t>(file.model));
  trainer.varint(35, file.byte_fallback ? 1 : 0);
  trainer.varint(40, signed_value(file.unk));
  trainer.varint(41, signed_value(file.bos));
  trainer.varint(42, signed_value(file.eos));
  trainer.bytes(44, file.unk_surface);
  model.bytes(2, trainer.message());

  ProtoWriter normalizer;
  normalizer.bytes(1, "identity");
  normalizer.varint(3, file.add_dummy_prefix ? 1 : 0);
  normalizer.varint(4, file.remove_extra_whitespaces ? 1 : 0);
  normalizer.varint(5, 1);
  model.bytes(3, normalizer.message());
  return model.message();
}

}  // namespace winnow
