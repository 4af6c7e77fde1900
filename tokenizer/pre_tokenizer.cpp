#include "tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8  // pcre2.h asks for it
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <new>
#include <optional>

#include "src/base/error.h"
#include "tokenizer/split_patterns.h"

namespace winnow {
namespace {

/// PCRE2's words for one of its error codes.
std::string reason(int code) {
  std::array<PCRE2_UCHAR, 256> text = {};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

pcre2_code* compile(std::string_view pattern) {
  const std::optional<std::string> translated = pcre2_split_pattern(pattern);
  WINNOW_CHECK(translated, "an unknown pattern ", quoted(pattern));
  int error = 0;
  PCRE2_SIZE error_at = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                    PCRE2_UTF | PCRE2_UCP, &error, &error_at, nullptr);
  if (error == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
  WINNOW_CHECK(code != nullptr, reason(error), ", at ", error_at, " of ", quoted(*translated));
  // Where a machine allows no memory that is written and run, PCRE2 interprets the pattern.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return code;
}

template <class T>
T* allocated(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

}  // namespace

void PreTokenizer::Free::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}
void PreTokenizer::Free::operator()(pcre2_real_match_context_8* limits) const {
  pcre2_match_context_free(limits);
}
void PreTokenizer::Free::operator()(pcre2_real_match_data_8* found) const {
  pcre2_match_data_free(found);
}

PreTokenizer::PreTokenizer(std::span<const std::string> patterns)
    : limits_(allocated(pcre2_match_context_create(nullptr))) {
  patterns_.reserve(patterns.size());  // what compile() returns is owned at once
  for (const std::string& pattern : patterns) patterns_.emplace_back(compile(pattern));
  // Going back over a run of n spaces counts n steps, and the default ends a search after 10
  // million. The steps of the known patterns are linear in the text.
  pcre2_set_match_limit(limits_.get(), UINT32_MAX);
}

void PreTokenizer::split(std::string_view text, const Word& word) const {
  const std::unique_ptr<pcre2_real_match_data_8, Free> found(
      allocated(pcre2_match_data_create(1, nullptr)));
  split_by(0, text, found.get(), word);
}

void PreTokenizer::split_by(size_t pattern, std::string_view text, pcre2_real_match_data_8* found,
                            const Word& word) const {
  if (text.empty()) return;
  if (pattern == patterns_.size()) return word(text);
  size_t done = 0;
  while (done < text.size()) {
    // The text was checked before: PCRE2 would check all of it anew at each call.
    const int code =
        pcre2_match(patterns_[pattern].get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                    text.size(), done, PCRE2_NO_UTF_CHECK, found, limits_.get());
    if (code == PCRE2_ERROR_NOMATCH) break;
    if (code == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
    WINNOW_CHECK(code >= 0, reason(code), ", at byte ", done, " of ", text.size());
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(found);
    const size_t start = ends[0];
    const size_t end = ends[1];
    WINNOW_CHECK(end > start, "an empty match at byte ", start);
    split_by(pattern + 1, text.substr(done, start - done), found, word);
    split_by(pattern + 1, text.substr(start, end - start), found, word);
    done = end;
  }
  split_by(pattern + 1, text.substr(done), found, word);
}

}  // namespace winnow
