#include "src/eval/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "src/base/error.h"
#include "src/eval/text_rules.h"

namespace winnow {
namespace {

double exact(std::string_view prediction, std::string_view answer) {
  return normal_words(prediction) == normal_words(answer) ? 1 : 0;
}

double f1(std::string_view prediction, std::string_view answer) {
  Words ours = normal_words(prediction);
  Words right = normal_words(answer);
  std::sort(ours.begin(), ours.end());
  std::sort(right.begin(), right.end());
  Words common;
  std::set_intersection(ours.begin(), ours.end(), right.begin(), right.end(),
                        std::back_inserter(common));
  if (common.empty()) return 0;
  const auto n = static_cast<double>(common.size());
  return 2 * n / static_cast<double>(ours.size() + right.size());
}

double contains(std::string_view prediction, std::string_view answer) {
  const std::u32string text = lower_characters(prediction);
  return text.find(lower_characters(answer)) != std::u32string::npos ? 1 : 0;
}

// ---- rouge_l ----

using WordNumbers = std::map<std::u32string, int32_t>;

struct Sentences {
  std::vector<std::vector<int32_t>> words;  // numbers, equal for equal words
  std::set<int32_t> different;              // words of all sentences
};

/// The sentences of `bytes`; words that `numbers` does not have yet get the next number.
Sentences sentences_of(std::string_view bytes, WordNumbers& numbers) {
  Sentences out;
  const auto add_sentence = [&](std::u32string_view sentence) {
    Words words = split_at_spaces(sentence);
    if (words.empty()) words.emplace_back();  // the empty word
    std::vector<int32_t>& added = out.words.emplace_back();
    for (std::u32string& word : words) {
      const auto next = static_cast<int32_t>(numbers.size());
      added.push_back(numbers.try_emplace(std::move(word), next).first->second);
    }
    out.different.insert(added.begin(), added.end());
  };
  for_each_run(
      characters(bytes), [](char32_t c) { return c != '.'; }, add_sentence);
  return out;
}

/// Adds to `found` the words of a longest common subsequence. Of several it is the one that is met
/// by walking back from the ends of both, past a word of `answer` only where that gives a longer
/// one than to go past a word of `prediction`.
void add_common(std::span<const int32_t> answer, std::span<const int32_t> prediction,
                std::set<int32_t>& found) {
  const size_t width = prediction.size();
  std::vector<int32_t> longest(width + 1);               // with the answer's words so far
  std::vector<bool> past_answer(answer.size() * width);  // [answer, prediction]
  for (size_t a = 0; a < answer.size(); ++a) {
    int32_t diagonal = 0;
    for (size_t p = 0; p < width; ++p) {
      const int32_t above = longest[p + 1];
      const int32_t left = longest[p];
      const bool equal = answer[a] == prediction[p];
      past_answer[a * width + p] = above > left;
      longest[p + 1] = equal ? diagonal + 1 : std::max(above, left);
      diagonal = above;
    }
  }
  size_t a = answer.size();
  size_t p = width;
  while (a > 0 && p > 0) {
    if (answer[a - 1] == prediction[p - 1]) {
      found.insert(answer[a - 1]);
      --a;
      --p;
    } else if (past_answer[(a - 1) * width + p - 1]) {
      --a;
    } else {
      --p;
    }
  }
}

double rouge_l(std::string_view prediction, std::string_view answer) {
  constexpr double kNotZero = 1e-8;
  WordNumbers numbers;
  const Sentences ours = sentences_of(prediction, numbers);
  const Sentences right = sentences_of(answer, numbers);
  if (ours.words.empty() || right.words.empty()) return 0;
  std::set<int32_t> found;
  for (const std::vector<int32_t>& a : right.words) {
    for (const std::vector<int32_t>& p : ours.words) add_common(a, p, found);
  }
  const auto n = static_cast<double>(found.size());
  const double recall = n / static_cast<double>(right.different.size());
  const double precision = n / static_cast<double>(ours.different.size());
  return 2 * (precision * recall) / (precision + recall + kNotZero);
}

// ---- edit_sim ----

/// The first line without a mark of a comment or of Markdown; empty where there is none.
std::string_view first_code_line(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const bool marked = line.find_first_of("`#") != std::string_view::npos ||
                        line.find("//") != std::string_view::npos;
    if (!marked) return line;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

/// Length of a longest common subsequence.
size_t common_length(std::u32string_view a, std::u32string_view b) {
  std::vector<uint32_t> longest(b.size() + 1);  // with the characters of a so far
  for (const char32_t from_a : a) {
    uint32_t diagonal = 0;
    for (size_t i = 0; i < b.size(); ++i) {
      const uint32_t above = longest[i + 1];
      longest[i + 1] = from_a == b[i] ? diagonal + 1 : std::max(above, longest[i]);
      diagonal = above;
    }
  }
  return longest.back();
}

double edit_sim(std::string_view prediction, std::string_view answer) {
  const size_t start = std::min(prediction.find_first_not_of('\n'), prediction.size());
  const std::u32string ours = characters(first_code_line(prediction.substr(start)));
  const std::u32string right = characters(answer);
  if (ours == right) return 1;
  const size_t both = ours.size() + right.size();
  const auto edits = static_cast<double>(both - 2 * common_length(ours, right));
  // In this order of operations halves are those of fuzzywuzzy.
  return std::nearbyint(100 * (1 - edits / static_cast<double>(both))) / 100;
}

// ---- count ----

double count(std::string_view prediction, std::string_view answer) {
  const std::u32string right = characters(answer);
  int64_t n = 0;
  int64_t n_right = 0;
  for_each_run(characters(prediction), is_digit, [&](std::u32string_view number) {
    ++n;
    n_right += number == right ? 1 : 0;
  });
  return n == 0 ? 0 : static_cast<double>(n_right) / static_cast<double>(n);
}

// ---- all of them ----

struct NamedMetric {
  Metric metric;
  std::string_view name;
  double (*score)(std::string_view prediction, std::string_view answer);  // for one answer
};

constexpr std::array kMetrics = {
    NamedMetric{Metric::kExact, "exact", exact},
    NamedMetric{Metric::kContains, "contains", contains},
    NamedMetric{Metric::kContainsAny, "contains_any", contains},
    NamedMetric{Metric::kF1, "f1", f1},
    NamedMetric{Metric::kRougeL, "rouge_l", rouge_l},
    NamedMetric{Metric::kEditSim, "edit_sim", edit_sim},
    NamedMetric{Metric::kCount, "count", count},
};

const NamedMetric& row_of(Metric metric) {
  const auto* const row =
      std::find_if(kMetrics.begin(), kMetrics.end(),
                   [&](const auto& candidate) { return candidate.metric == metric; });
  WINNOW_CHECK(row != kMetrics.end(), "metric ", static_cast<int>(metric));
  return *row;
}

}  // namespace

std::vector<std::string_view> metric_names() {
  std::vector<std::string_view> names;
  names.reserve(kMetrics.size());
  for (const NamedMetric& row : kMetrics) names.push_back(row.name);
  return names;
}

std::string_view metric_name(Metric metric) {
  return row_of(metric).name;
}

std::optional<Metric> find_metric(std::string_view name) {
  for (const NamedMetric& row : kMetrics) {
    if (row.name == name) return row.metric;
  }
  return std::nullopt;
}

double score_answer(Metric metric, std::string_view prediction,
                    std::span<const std::string> answers) {
  WINNOW_CHECK(!answers.empty(), "no right answer");
  const NamedMetric& row = row_of(metric);
  double best = 0;
  double sum = 0;
  for (const std::string& answer : answers) {
    const double score = row.score(prediction, answer);
    best = std::max(best, score);
    sum += score;
  }
  return metric == Metric::kContains ? sum / static_cast<double>(answers.size()) : best;
}

}  // namespace winnow
