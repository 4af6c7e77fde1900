#include "tokenizer/tiktoken.h"

#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "src/base/error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/split_patterns.h"

namespace winnow {
namespace {

constexpr size_t kMaxPieceBytes = 256;
constexpr size_t kControlTokens = 256;

/// The number of a base64 digit, 0..63; -1 for other bytes.
int base64_digit(char byte) {
  if (byte >= 'A' && byte <= 'Z') return byte - 'A';
  if (byte >= 'a' && byte <= 'z') return byte - 'a' + 26;
  if (byte >= '0' && byte <= '9') return byte - '0' + 52;
  return byte == '+' ? 62 : byte == '/' ? 63 : -1;
}

/// The bytes of base64 text with its padding; nothing where it is malformed.
std::optional<std::string> base64_bytes(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  size_t digits = text.size();
  if (text.ends_with("==")) {
    digits -= 2;
  } else if (text.ends_with('=')) {
    digits -= 1;
  }
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < digits; ++i) {
    const int digit = base64_digit(text[i]);
    if (digit < 0) return std::nullopt;
    bits = (bits << 6 | static_cast<uint32_t>(digit)) & 0xFFFFFF;
    // 6, 12, 18, 24 bits: whole bytes are 0, 1, 2, 3.
    if (i % 4 != 0) bytes.push_back(static_cast<char>(bits >> (6 - 2 * (i % 4)) & 0xFF));
  }
  return bytes;
}

struct RankLine {
  std::string piece;
  size_t rank = 0;
};

/// Nothing where `line` is not "BASE64 RANK".
std::optional<RankLine> parse_line(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  std::optional<std::string> piece = base64_bytes(line.substr(0, space));
  const std::string_view number = line.substr(space + 1);
  size_t rank = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
  if (!piece || error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return RankLine{std::move(*piece), rank};
}

std::string_view first_line(std::string_view text) {
  return text.substr(0, text.find('\n'));
}

/// The control tokens of Llama 3.1, in the order of their ids.
std::vector<std::string> control_tokens() {
  std::vector<std::string> names = {"<|begin_of_text|>",
                                    "<|end_of_text|>",
                                    "<|reserved_special_token_0|>",
                                    "<|reserved_special_token_1|>",
                                    "<|finetune_right_pad_id|>",
                                    "<|reserved_special_token_2|>",
                                    "<|start_header_id|>",
                                    "<|end_header_id|>",
                                    "<|eom_id|>",
                                    "<|eot_id|>",
                                    "<|python_tag|>"};
  for (size_t i = 3; names.size() < kControlTokens; ++i) {
    names.push_back("<|reserved_special_token_" + std::to_string(i) + "|>");
  }
  return names;
}

/// Every way to join two pieces into `whole`. All have its rank: of several, the leftmost in a text
/// is joined first.
void add_merges(std::string_view whole, int32_t id, BpeVocabulary& vocabulary) {
  for (size_t cut = 1; cut < whole.size(); ++cut) {
    const std::optional<int32_t> left = vocabulary.find(byte_level_text(whole.substr(0, cut)));
    const std::optional<int32_t> right = vocabulary.find(byte_level_text(whole.substr(cut)));
    if (left && right) vocabulary.add_merge({*left, *right, id, static_cast<uint32_t>(id)});
  }
}

}  // namespace

bool is_rank_file(std::string_view bytes) {
  constexpr size_t kLongestLine = 512;
  return parse_line(first_line(bytes.substr(0, kLongestLine))).has_value();
}

std::vector<std::string> parse_rank_file(std::string_view text, std::string_view name) {
  std::vector<std::string> pieces;
  size_t n_lines = 0;
  for (std::string_view rest = text; !rest.empty(); ++n_lines) {
    const std::string_view line = first_line(rest);
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const auto reject = [&](const auto&... parts) {
      fail(ExitCode::kModel, name, ":", n_lines + 1, ": ", quoted(line), ": ", parts...);
    };
    std::optional<RankLine> entry = parse_line(line);
    if (!entry) reject("is not a piece in base64 and its rank");
    if (entry->piece.size() > kMaxPieceBytes) reject("a piece of ", entry->piece.size(), " bytes");
    // Ranks are 0 .. n - 1 in any order, and no line is shorter than 6 bytes.
    if (entry->rank >= text.size() / 6 + 1) reject("a rank without the ones before it");
    if (entry->rank >= pieces.size()) pieces.resize(entry->rank + 1);
    std::string& piece = pieces[entry->rank];
    if (!piece.empty()) reject("the rank is there twice");
    piece = std::move(entry->piece);
  }
  if (pieces.size() != n_lines) {
    fail(ExitCode::kModel, name, ": ", pieces.size() - n_lines, " of ", pieces.size(),
         " ranks are missing");
  }
  return pieces;
}

BpeModel llama3_model(std::span<const std::string> pieces, std::string_view name) {
  BpeModel model{.vocabulary = BpeVocabulary(name)};
  BpeVocabulary& vocabulary = model.vocabulary;
  model.ignore_merges = true;
  model.split_patterns = {std::string(kLlama3Pattern)};
  for (const std::string& piece : pieces) {
    vocabulary.add_piece(byte_level_text(piece), static_cast<int64_t>(vocabulary.texts().size()));
  }
  for (size_t id = 0; id < pieces.size(); ++id) {
    add_merges(pieces[id], static_cast<int32_t>(id), vocabulary);
  }
  for (std::string& content : control_tokens()) {
    const auto id = static_cast<int32_t>(vocabulary.texts().size());
    vocabulary.add_token({.content = std::move(content), .id = id, .special = true});
  }
  vocabulary.check_complete();
  model.adds_bos = true;
  return model;
}

}  // namespace winnow
