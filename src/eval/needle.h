// Needles in a haystack: a sentence that nobody could guess, somewhere in a long text, and a
// question about it at the end. The form is RULER's (arXiv 2404.06654): several needles, of which
// one is asked for, and answers of words that say nothing together.
//
//   <s> ...text... The secret name of the silver lantern is river garden stone. ...text...
//   Question: What is the secret name of the silver lantern?
//   Answer:                                                        river garden stone
//
// An answer needs several words: the first token of it comes from the prompt's last row, before
// anything is dropped, and shows nothing about what was kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/splitmix.h"
#include "src/eval/sample.h"
#include "src/eval/settings.h"
#include "src/eval/words.h"
#include "tokenizer/tokenizer.h"

namespace winnow {

class NeedleMaker {
 public:
  /// `haystack` is the text to hide in. Fails with kUsage where the words do not make so many keys.
  NeedleMaker(const Tokenizer& tokenizer, const std::string& haystack, NeedleWords words,
              const NeedleOptions& options);

  /// Sample `i` of those with `length` tokens: it depends on the seed, the length and i alone.
  /// Depths take turns. Fails with kPrompt where the text is too short, or the length too small for
  /// the needles and the question.
  EvalSample sample(int64_t length, int64_t i) const;

 private:
  struct Needle {
    std::string key;
    std::string value;
  };
  class Draw;

  std::vector<Needle> draw_needles(Draw& draw) const;
  std::vector<int32_t> hide(int64_t n, const std::vector<std::vector<int32_t>>& facts, double depth,
                            Draw& draw) const;
  int64_t start_of_line(int64_t at) const;
  int64_t end_of_sentence(int64_t begin, int64_t at) const;

  const Tokenizer& tokenizer_;
  NeedleWords words_;
  NeedleOptions options_;
  std::vector<int32_t> text_;  // the haystack's tokens
  std::vector<uint8_t>
      is_end_;  // [text_.size()] what ends there: 0 nothing, 1 a sentence, 2 a line
};

}  // namespace winnow
