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
#include "src/base/utf8.h"

namespace winnow {
namespace {

// ---- characters ----

/// Every `step`th code point from first to last is a capital; its small letter lies `to` further.
struct Capitals {
  char32_t first, last;
  uint32_t step;
  int32_t to;
};

constexpr Capitals kCapitals[] = {
    {'A', 'Z', 1, 32},      {0xC0, 0xD6, 1, 32},     {0xD8, 0xDE, 1, 32},
    {0x100, 0x12E, 2, 1},   {0x132, 0x136, 2, 1},    {0x139, 0x147, 2, 1},
    {0x14A, 0x176, 2, 1},   {0x178, 0x178, 1, -121}, {0x179, 0x17D, 2, 1},
    {0x386, 0x386, 1, 38},  {0x388, 0x38A, 1, 37},   {0x38C, 0x38C, 1, 64},
    {0x38E, 0x38F, 1, 63},  {0x391, 0x3A1, 1, 32},   {0x3A3, 0x3AB, 1, 32},
    {0x400, 0x40F, 1, 80},  {0x410, 0x42F, 1, 32},   {0x460, 0x480, 2, 1},
    {0x48A, 0x4BE, 2, 1},   {0x4C0, 0x4C0, 1, 15},   {0x4C1, 0x4CD, 2, 1},
    {0x4D0, 0x52E, 2, 1},   {0x1E00, 0x1E94, 2, 1},  {0x1E9E, 0x1E9E, 1, -7615},
    {0x1EA0, 0x1EFE, 2, 1}, {0xFF21, 0xFF3A, 1, 32},
};

struct Characters {
  char32_t first, last;
};

// Beyond ASCII, what is no part of a word, as far as metrics.h promises.
constexpr Characters kBetweenWords[] = {
    {0x80, 0xA9},     {0xAB, 0xB1},       {0xB4, 0xB4},     {0xB6, 0xB8},     {0xBB, 0xBB},
    {0xBF, 0xBF},     {0xD7, 0xD7},       {0xF7, 0xF7},     {0x300, 0x36F},   {0x1680, 0x1680},
    {0x1DC0, 0x1DFF}, {0x2000, 0x206F},   {0x209D, 0x2101}, {0x211E, 0x2123}, {0x218A, 0x245F},
    {0x2500, 0x2775}, {0x2794, 0x2BFF},   {0x2E30, 0x3004}, {0x3008, 0x3020}, {0x30FB, 0x30FB},
    {0xFE00, 0xFE6F}, {0xFEFD, 0xFF0F},   {0xFF1A, 0xFF20}, {0xFF3B, 0xFF40}, {0xFF5B, 0xFF65},
    {0xFFDD, 0xFFFF}, {0x1F10D, 0x1FBEF},
};

constexpr Characters kSpaces[] = {
    {0x09, 0x0D},     {0x1C, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
};

bool is_in(std::span<const Characters> ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const Characters& range) { return c >= range.first && c <= range.last; });
}

bool is_space(char32_t c) {
  return is_in(kSpaces, c);
}

bool is_digit(char32_t c) {
  return c >= '0' && c <= '9';
}

/// What string.punctuation has: the visible characters of ASCII but letters and digits.
bool is_punctuation(char32_t c) {
  const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return c > 0x20 && c < 0x7F && !is_letter && !is_digit(c);
}

/// Whether `c` is part of a word, for text without punctuation.
bool is_word(char32_t c) {
  if (c < 0x80) return c > 0x20 && c != 0x7F;
  return !is_in(kBetweenWords, c);
}

char32_t lower(char32_t c) {
  for (const Capitals& row : kCapitals) {
    if (c >= row.first && c <= row.last && (c - row.first) % row.step == 0) {
      return static_cast<char32_t>(static_cast<int32_t>(c) + row.to);
    }
  }
  return c;
}

/// The code points of `bytes`.
std::u32string characters(std::string_view bytes) {
  const std::string text = utf8_replace_invalid(bytes);
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(std::string_view(text).substr(at));
    const auto first = static_cast<unsigned char>(text[at]);
    char32_t c = length == 1 ? first : first & (0x7FU >> length);
    for (size_t i = 1; i < length; ++i) {
      c = (c << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3FU);
    }
    out += c;
    at += length;
  }
  return out;
}

std::u32string lower_characters(std::string_view bytes) {
  std::u32string text = characters(bytes);
  std::transform(text.begin(), text.end(), text.begin(), lower);
  return text;
}

/// Calls use(piece) for every longest piece of `text` in which all characters pass `belongs`.
template <class Belongs, class Use>
void for_each_run(std::u32string_view text, Belongs belongs, Use use) {
  auto at = text.begin();
  while (true) {
    const auto begin = std::find_if(at, text.end(), belongs);
    if (begin == text.end()) return;
    at = std::find_if_not(begin, text.end(), belongs);
    use(text.substr(static_cast<size_t>(begin - text.begin()), static_cast<size_t>(at - begin)));
  }
}

// ---- words ----

using Words = std::vector<std::u32string>;

Words split(std::u32string_view text) {
  Words words;
  for_each_run(
      text, [](char32_t c) { return !is_space(c); },
      [&words](std::u32string_view word) { words.emplace_back(word); });
  return words;
}

/// LongBench's normalize_answer, as the words that it joins with spaces.
Words normal_words(std::string_view bytes) {
  std::u32string text = lower_characters(bytes);
  std::erase_if(text, is_punctuation);
  // Letters become spaces behind the place that is looked at next.
  const auto blank_article = [&text](std::u32string_view word) {
    if (word != U"a" && word != U"an" && word != U"the") return;
    std::fill_n(text.begin() + (word.data() - text.data()), word.size(), U' ');
  };
  for_each_run(text, is_word, blank_article);
  return split(text);
}

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
    Words words = split(sentence);
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
