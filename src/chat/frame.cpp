#include "src/chat/frame.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/base/utf8.h"

namespace winnow {
namespace {

/// The code point of the whole character `bytes`.
uint32_t code_point(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])); };
  if (bytes.size() == 1) return at(0);
  uint32_t code = at(0) & (0xffU >> (bytes.size() + 1));
  for (size_t i = 1; i < bytes.size(); ++i) code = code << 6 | (at(i) & 0x3fU);
  return code;
}

bool is_space(uint32_t code) {
  const auto within = [code](uint32_t first, uint32_t last) {
    return code >= first && code <= last;
  };
  return within(0x09, 0x0d) || within(0x1c, 0x20) || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || within(0x2000, 0x200a) || within(0x2028, 0x2029) || code == 0x202f ||
         code == 0x205f || code == 0x3000;
}

bool is_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xc0U) == 0x80U;
}

void append(FrameParts& to, const FrameParts& parts) {
  to.insert(to.end(), parts.begin(), parts.end());
}

FrameParts around(const FrameParts& before, std::string_view content, const FrameParts& after) {
  FrameParts parts = before;
  parts.push_back({FramePart::Kind::kText, std::string(content)});
  append(parts, after);
  return parts;
}

std::string_view trimmed(const Frame& frame, std::string_view content) {
  return frame.trims ? strip(content) : content;
}

}  // namespace

std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0 || !is_space(code_point(text.substr(0, length)))) break;
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && is_continuation(text[last])) --last;
    const std::string_view character = text.substr(last);
    if (utf8_length(character) != character.size() || !is_space(code_point(character))) break;
    text.remove_suffix(character.size());
  }
  return text;
}

FrameParts later_turn(const Frame& frame, std::string_view user) {
  return around(frame.before_user, trimmed(frame, user), frame.after_user);
}

FrameParts first_turn(const Frame& frame, const std::optional<std::string>& system,
                      std::string_view user) {
  FrameParts parts = frame.begin;
  const std::optional<std::string>& given = system ? system : frame.default_system;
  if (!given) {
    append(parts, later_turn(frame, user));
  } else if (frame.system_in_user) {
    const std::string system_text =
        spelled(around(frame.before_system, *given, frame.after_system), "", "");
    append(parts, later_turn(frame, system_text + std::string(user)));
  } else {
    append(parts, around(frame.before_system, trimmed(frame, *given), frame.after_system));
    append(parts, later_turn(frame, user));
  }
  return parts;
}

std::string spelled(const FrameParts& parts, std::string_view bos, std::string_view eos) {
  std::string text;
  for (const FramePart& part : parts) {
    switch (part.kind) {
      case FramePart::Kind::kBos: text += bos; break;
      case FramePart::Kind::kEos: text += eos; break;
      default: text += part.text;
    }
  }
  return text;
}

FrameTokens::FrameTokens(const Tokenizer& tokenizer, Frame frame)
    : tokenizer_(tokenizer), frame_(std::move(frame)) {
  const std::vector<int32_t> a = tokenizer_.encode("a");
  if (!frame_.has_turns && tokenizer_.adds_bos()) frame_.begin = {{FramePart::Kind::kBos}};
  adds_space_ = !a.empty() && tokenizer_.decode_piece(a.front(), false).starts_with(' ');
  for (const FrameParts* const parts :
       {&frame_.begin, &frame_.before_system, &frame_.after_system, &frame_.before_user,
        &frame_.after_user, &frame_.end_of_reply}) {
    encode(*parts);
  }
}

std::vector<int32_t> FrameTokens::first_turn(const std::optional<std::string>& system,
                                             std::string_view user) const {
  return encode(winnow::first_turn(frame_, system, user));
}

std::vector<int32_t> FrameTokens::later_turn(std::string_view user) const {
  return encode(winnow::later_turn(frame_, user));
}

std::optional<int32_t> FrameTokens::stop_id() const {
  if (frame_.end_of_reply.empty()) return std::nullopt;
  return control(frame_.end_of_reply.front());
}

std::vector<int32_t> FrameTokens::encode(const FrameParts& parts) const {
  std::vector<int32_t> ids;
  std::string words;
  for (const FramePart& part : parts) {
    if (part.kind == FramePart::Kind::kText) {
      words += part.text;
      continue;
    }
    encode_text(words, ids);
    words.clear();
    ids.push_back(control(part));
  }
  encode_text(words, ids);
  return ids;
}

/// A space at the front of a text is the one that sentencepiece would put there by itself.
void FrameTokens::encode_text(std::string_view text, std::vector<int32_t>& ids) const {
  if (adds_space_ && text.starts_with(' ')) text.remove_prefix(1);
  if (text.empty()) return;
  const std::vector<int32_t> more = tokenizer_.encode(text);
  ids.insert(ids.end(), more.begin(), more.end());
}

int32_t FrameTokens::control(const FramePart& part) const {
  std::optional<int32_t> id;
  std::string what = quoted(part.text);
  switch (part.kind) {
    case FramePart::Kind::kBos:
      id = tokenizer_.bos();
      what = "BOS";
      break;
    case FramePart::Kind::kEos:
      id = tokenizer_.eos();
      what = "EOS";
      break;
    default: id = tokenizer_.control_id(part.text);
  }
  if (id) return *id;
  fail(ExitCode::kModel, "the chat frame ", frame_.name, " needs the control token ", what,
       ", which the tokenizer does not have");
}

}  // namespace winnow
