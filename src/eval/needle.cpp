#include "src/eval/needle.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "src/base/error.h"

namespace winnow {
namespace {

constexpr int64_t kLookForEnd = 128;  // tokens that a needle may move to the end of a sentence
constexpr int64_t kTokensBesideAnswer = 8;  // that may be generated
constexpr uint8_t kSentence = 1;
constexpr uint8_t kLine = 2;

std::string fact(const std::string& key, const std::string& value) {
  return "\nThe secret name of " + key + " is " + value + ".\n";
}

std::string question(const std::string& key) {
  return "\nQuestion: What is the secret name of " + key + "?\nAnswer:";
}

uint8_t end_of(const std::string& piece) {
  if (piece.empty()) return 0;
  if (piece.back() == '\n') return kLine;
  return std::string(".!?").find(piece.back()) == std::string::npos ? 0 : kSentence;
}

}  // namespace

/// Numbers of one sample, one after the other.
class NeedleMaker::Draw {
 public:
  explicit Draw(uint64_t seed) : seed_(seed) {}

  /// 0 ... n - 1. The remainder favours small numbers by less than n / 2^64.
  int64_t below(int64_t n) {
    return static_cast<int64_t>(splitmix64(seed_, i_++) % static_cast<uint64_t>(n));
  }

  const std::string& of(const std::vector<std::string>& words) {
    return words[static_cast<size_t>(below(std::ssize(words)))];
  }

 private:
  uint64_t seed_;
  uint64_t i_ = 0;
};

NeedleMaker::NeedleMaker(const Tokenizer& tokenizer, const std::string& haystack, NeedleWords words,
                         const NeedleOptions& options)
    : tokenizer_(tokenizer),
      words_(std::move(words)),
      options_(options),
      text_(tokenizer.encode(haystack)) {
  const std::set<std::string> adjectives(words_.adjectives.begin(), words_.adjectives.end());
  const std::set<std::string> nouns(words_.nouns.begin(), words_.nouns.end());
  if (const size_t keys = adjectives.size() * nouns.size();
      options_.needles > static_cast<int64_t>(keys)) {
    fail(ExitCode::kUsage, "--needles ", options_.needles, ": the words make only ", keys,
         " different keys");
  }
  for (const int32_t id : text_) is_end_.push_back(end_of(tokenizer_.decode_piece(id, false)));
}

std::vector<NeedleMaker::Needle> NeedleMaker::draw_needles(Draw& draw) const {
  std::vector<Needle> needles;
  std::set<std::string> keys;
  while (std::ssize(needles) < options_.needles) {
    const std::string key = "the " + draw.of(words_.adjectives) + " " + draw.of(words_.nouns);
    if (!keys.insert(key).second) continue;
    std::string value;
    for (int64_t w = 0; w < options_.answer_words; ++w) {
      value += (w > 0 ? " " : "") + draw.of(words_.values);
    }
    needles.push_back({key, value});
  }
  return needles;
}

/// The first token of a line, from `at` on, if one is near.
int64_t NeedleMaker::start_of_line(int64_t at) const {
  const int64_t last = std::min(at + kLookForEnd, std::ssize(text_));
  for (int64_t i = at; i <= last; ++i) {
    if (i == 0 || is_end_[static_cast<size_t>(i - 1)] == kLine) return i;
  }
  return at;
}

/// Where the sentence before `at` ends, if that is near; never before `begin`.
int64_t NeedleMaker::end_of_sentence(int64_t begin, int64_t at) const {
  for (int64_t i = at; i > begin && i >= at - kLookForEnd; --i) {
    if (is_end_[static_cast<size_t>(i - 1)] != 0) return i;
  }
  return at;
}

/// n tokens of the haystack from anywhere, with the facts in it: the first at `depth`, the others
/// at random places.
std::vector<int32_t> NeedleMaker::hide(int64_t n, const std::vector<std::vector<int32_t>>& facts,
                                       double depth, Draw& draw) const {
  const int64_t room = std::ssize(text_) - n;
  const int64_t begin = std::min(start_of_line(draw.below(room + 1)), room);
  std::vector<std::pair<int64_t, size_t>> places;
  for (size_t f = 0; f < facts.size(); ++f) {
    const int64_t at = f == 0 ? std::llround(depth * static_cast<double>(n)) : draw.below(n + 1);
    places.emplace_back(end_of_sentence(begin, begin + at), f);
  }
  std::ranges::sort(places);
  std::vector<int32_t> tokens;
  int64_t done = begin;
  for (const auto& [place, f] : places) {
    tokens.insert(tokens.end(), text_.begin() + done, text_.begin() + place);
    tokens.insert(tokens.end(), facts[f].begin(), facts[f].end());
    done = place;
  }
  tokens.insert(tokens.end(), text_.begin() + done, text_.begin() + begin + n);
  return tokens;
}

EvalSample NeedleMaker::sample(int64_t length, int64_t i) const {
  Draw draw(splitmix64(splitmix64(options_.seed, static_cast<uint64_t>(length)),
                       static_cast<uint64_t>(i)));
  const std::vector<Needle> needles = draw_needles(draw);
  std::vector<std::vector<int32_t>> facts;
  const std::vector<int32_t> asked = tokenizer_.encode(question(needles.front().key));
  int64_t n = length - std::ssize(asked) - (options_.bos ? 1 : 0);
  for (const Needle& needle : needles) {
    facts.push_back(tokenizer_.encode(fact(needle.key, needle.value)));
    n -= std::ssize(facts.back());
  }
  if (n < 0) {
    fail(ExitCode::kPrompt, "a prompt of ", length, " tokens has no room for ", needles.size(),
         " needles and a question, which take ", length - n);
  }
  if (n > std::ssize(text_)) {
    fail(ExitCode::kPrompt, "the haystack has ", text_.size(), " tokens, and a prompt of ", length,
         " takes ", n, " of it");
  }
  const int64_t turn = i % options_.depths;
  const double depth = options_.depths == 1
                           ? 0.5
                           : static_cast<double>(turn) / static_cast<double>(options_.depths - 1);
  EvalSample sample{.task = "needle", .id = std::to_string(length) + "/" + std::to_string(i)};
  if (options_.bos) sample.first.push_back(*tokenizer_.bos());
  const std::vector<int32_t> text = hide(n, facts, depth, draw);
  sample.first.insert(sample.first.end(), text.begin(), text.end());
  std::vector<int32_t>& last =
      options_.question == QuestionSeen::kBefore ? sample.first : sample.then;
  last.insert(last.end(), asked.begin(), asked.end());
  sample.length = length;
  sample.depth = depth;
  sample.answers = {needles.front().value};
  const auto answer = tokenizer_.encode(" " + needles.front().value + ".");
  sample.max_tokens = std::ssize(answer) + kTokensBesideAnswer;
  sample.stop = {"\n", "."};
  return sample;
}

}  // namespace winnow
