#include "tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "src/base/utf8.h"

namespace winnow {
namespace {

bool is_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0) == 0x80;
}

/// The code point at the front of `text`, which is not empty; 0 where there is none.
int32_t first_code(std::string_view text) {
  int32_t code = 0;
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), size, &code);
  return std::max(code, 0);
}

std::string_view last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && is_continuation(text[at])) --at;
  return text.substr(at);
}

/// Unicode's White_Space.
bool is_space(int32_t code) {
  return (code >= '\t' && code <= '\r') || code == ' ' || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

/// What \w matches (UTS 18): letters, marks, decimal digits, connectors, letter numbers and
/// letters in circles and squares, and the two joiners.
bool is_word_character(int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  const bool is_letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool is_mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
  const bool is_enclosed =
      (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
      (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  return is_letter || is_mark || category == UTF8PROC_CATEGORY_ND ||
         category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC || is_enclosed ||
         code == 0x200C || code == 0x200D;
}

bool is_single_word(std::string_view before, std::string_view after) {
  return (before.empty() || !is_word_character(first_code(last_character(before)))) &&
         (after.empty() || !is_word_character(first_code(after)));
}

/// How many bytes of white space `text` ends with.
size_t space_at_end(std::string_view text) {
  const size_t size = text.size();
  while (!text.empty()) {
    const std::string_view last = last_character(text);
    if (!is_space(first_code(last))) break;
    text.remove_suffix(last.size());
  }
  return size - text.size();
}

size_t space_at_front(std::string_view text) {
  const size_t size = text.size();
  while (!text.empty() && is_space(first_code(text))) text.remove_prefix(utf8_length(text));
  return size - text.size();
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::ranges::sort(tokens_, {}, &AddedToken::content);
  for (const AddedToken& token : tokens_) starts_[static_cast<uint8_t>(token.content[0])] = true;
}

/// Narrows the sorted tokens, byte by byte, to those that begin as `text` does. Of these, one that
/// ends here sorts first.
const AddedToken* AddedTokenFinder::longest_at_front(std::string_view text) const {
  const AddedToken* longest = nullptr;
  auto first = tokens_.begin();
  auto last = tokens_.end();
  for (size_t depth = 0; first != last && depth < text.size(); ++depth) {
    const auto byte_at_depth = [depth](const AddedToken& token) {
      return static_cast<uint8_t>(token.content[depth]);
    };
    const auto byte = static_cast<uint8_t>(text[depth]);
    first = std::ranges::lower_bound(first, last, byte, {}, byte_at_depth);
    last = std::ranges::upper_bound(first, last, byte, {}, byte_at_depth);
    if (first != last && first->content.size() == depth + 1) longest = &*first++;
  }
  return longest;
}

void AddedTokenFinder::split(std::string_view text, const Part& part) const {
  size_t done = 0;
  size_t space_begin = 0;  // white space that was passed over already, so that many tokens in one
  size_t space_end = 0;    // run of it pass over it once
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = nullptr;
    if (starts_[static_cast<uint8_t>(text[at])]) token = longest_at_front(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t start = at;
    size_t end = at + token->content.size();
    at = end;
    if (token->special) continue;
    if (token->single_word && !is_single_word(text.substr(0, start), text.substr(end))) continue;
    if (token->lstrip && start > done) {
      start -= space_at_end(text.substr(done, start - done));
    }
    if (token->rstrip && (end < space_begin || end > space_end)) {
      space_begin = end;
      space_end = end + space_at_front(text.substr(end));
    }
    if (token->rstrip) end = space_end;
    if (start > done) part(text.substr(done, start - done), nullptr);
    part({}, token);
    done = end;
  }
  if (done < text.size()) part(text.substr(done), nullptr);
}

}  // namespace winnow
