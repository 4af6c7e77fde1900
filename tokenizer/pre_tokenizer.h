// Cuts a text into the words that byte-level BPE encodes one by one, with PCRE2.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;           // PCRE2's names for what it compiled,
struct pcre2_real_match_context_8;  // for the limits of a search,
struct pcre2_real_match_data_8;     // and for what a search found

namespace winnow {

class PreTokenizer {
 public:
  using Word = std::function<void(std::string_view)>;

  /// Patterns of pcre2_split_pattern's list; each cuts further what the one before it left. None:
  /// a text is one word.
  explicit PreTokenizer(std::span<const std::string> patterns);

  /// Calls `word` with the parts of `text`, which is valid UTF-8, in their order; they are `text`
  /// when put together. What lies between two matches of a pattern is a part as well. Time is
  /// linear in `text`.
  void split(std::string_view text, const Word& word) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
    void operator()(pcre2_real_match_context_8* limits) const;
    void operator()(pcre2_real_match_data_8* found) const;
  };

  void split_by(size_t pattern, std::string_view text, pcre2_real_match_data_8* found,
                const Word& word) const;

  std::vector<std::unique_ptr<pcre2_real_code_8, Free>> patterns_;
  std::unique_ptr<pcre2_real_match_context_8, Free> limits_;
};

}  // namespace winnow
