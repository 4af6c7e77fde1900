// How good an answer is: the scores of LongBench (arXiv 2308.14508, metrics.py) and of RULER
// (arXiv 2404.06654, the constants of its synthetic tasks), each from 0 to 1.
//
// LongBench takes the best score over a sample's right answers, and so does everything here but
// contains. What both benchmarks do to a prediction before they score it is the caller's: LongBench
// cuts some tasks' predictions at the first line break (a stop string does the same), RULER strips
// white space and turns control characters into line breaks.
//
// Text is compared by code points; invalid UTF-8 counts as U+FFFD.
//
//   lower case   of ASCII, Latin-1, Latin Extended-A and Extended Additional, modern Greek,
//                Cyrillic and full-width Latin, one letter by one as Python does it. Other scripts
//                stay as they are, and so does U+0130, which Python makes two characters of. A
//                capital sigma becomes U+03C3 at the end of a word too.
//   punctuation  the 32 characters of Python's string.punctuation. Quotes and dashes beyond ASCII
//                stay, as they do in LongBench.
//   white space  that of Python's str.split(), in all of Unicode
//   articles     "a", "an" and "the" between two characters of which none is a letter or digit. For
//                that, what lies beyond ASCII is a letter, but for combining accents, most symbols,
//                emoji, and the punctuation of Latin-1, Chinese and Japanese and of U+2000..U+206F.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

enum class Metric {
  /// 1 where both are equal after LongBench's normalize_answer: lower case, without punctuation and
  /// articles, white space folded. An answer that has nothing else, like "A", equals a prediction
  /// that has nothing else, like "".
  kExact,

  /// RULER's string_match_all for one sample: the share of the answers that occur in the prediction
  /// when both are in lower case.
  kContains,

  /// RULER's string_match_part for one sample: 1 where any answer occurs.
  kContainsAny,

  /// LongBench's qa_f1_score: words of both after normalize_answer, c of them common (a word as
  /// often as in the text that has it less often), p and a in all: 2c / (p + a). 0 where c is 0.
  kF1,

  /// LongBench's rouge_score: rouge-l's f of the Python package rouge 1.0.1, the version that its
  /// unpinned requirement installs. Texts are split into sentences at '.', sentences into words at
  /// white space; nothing is put in lower case. U is the set of words in the longest common
  /// subsequence of any sentence of the answer with any of the prediction,
  ///
  ///   r = |U| / different words of the answer,  p = |U| / different words of the prediction,
  ///   f = 2 p r / (p + r + 1e-8)
  ///
  /// so that equal texts score 1 - 5e-9. Where two subsequences are equally long, it is the
  /// package's that counts. Two of its habits belong to the number: a sentence of spaces is one
  /// empty word, and a text without a sentence scores 0. A third is left out: sentences of about a
  /// thousand words overflow Python's stack, for which LongBench gives 0. Sentences of n and m
  /// words
  /// take n * m bits.
  kRougeL,

  /// LongBench's code_sim_score: of the prediction, its first line that has none of "`", "#" and
  /// "//" in it, after leading line breaks; then fuzzywuzzy's ratio over 100, as it is with
  /// python-Levenshtein beside it: of a and b characters with a longest common subsequence of c,
  /// 2c / (a + b), rounded half to even to whole percents; two empty texts are equal. (Without that
  /// package fuzzywuzzy asks difflib, whose greedy matching depends on the order of its arguments
  /// and is never higher.) Takes a * b steps and memory for b numbers.
  kEditSim,

  /// LongBench's count_score: of the numbers in the prediction, runs of ASCII digits, the share
  /// that
  /// is written like the answer. 0 where there are none.
  kCount,
};

/// The metrics' names in task files, in the order above: "exact", "contains", ...
std::vector<std::string_view> metric_names();

std::string_view metric_name(Metric metric);

/// The metric of that name; nothing where there is none.
std::optional<Metric> find_metric(std::string_view name);

/// The score of `prediction` where any of `answers` is right. `answers` must not be empty.
double score_answer(Metric metric, std::string_view prediction,
                    std::span<const std::string> answers);

}  // namespace winnow
