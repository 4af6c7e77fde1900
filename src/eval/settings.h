// What an evaluation may be told, as plain values.
#pragma once

#include <cstdint>

#include "src/eval/row.h"

namespace winnow {

struct NeedleOptions {
  int64_t needles = 1;       // in a text; the first of them is asked for
  int64_t answer_words = 3;  // of each
  int64_t depths = 10;       // places of the needle that is asked for, evenly from 0 to 1
  QuestionSeen question = QuestionSeen::kBefore;
  uint64_t seed = 1;
  bool bos = true;  // the text opens with BOS
};

struct PerplexityOptions {
  int64_t prefix = 4096;  // tokens that are read, BOS included
  int64_t score = 256;    // tokens that are scored
  bool bos = true;
};

}  // namespace winnow
