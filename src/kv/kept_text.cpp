#include "src/kv/kept_text.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "src/kv/kept_pieces.h"
#include "src/kv/kept_shares.h"

namespace winnow {
namespace {

constexpr int kNote = kKeptLevels;  // the level of words that are not of the prompt

constexpr std::string_view kMarks = " .:-=+#@ ";  // by level; the last is the notes'

// Both ground and letters are set, so that they can be read on a light and on a dark terminal; what
// was dropped is a grey that can be read on both. The ramp grows lighter, from violet to yellow.
constexpr std::array<std::string_view, kKeptLevels + 1> kStyles = {
    "\x1b[38;5;244m",         "\x1b[38;5;255;48;5;54m", "\x1b[38;5;255;48;5;25m",
    "\x1b[38;5;255;48;5;30m", "\x1b[38;5;16;48;5;36m",  "\x1b[38;5;16;48;5;77m",
    "\x1b[38;5;16;48;5;148m", "\x1b[38;5;16;48;5;226m", "\x1b[3m",
};
constexpr std::string_view kReset = "\x1b[0m";

constexpr int64_t kLongestRun = 32;  // tokens that nobody kept, shown in full
constexpr int64_t kRunEnds = 8;      // of a longer run: pieces shown at either end

/// Lines of shaded text.
class ShadedLines {
 public:
  ShadedLines(bool colors, int64_t columns) : colors_(colors), columns_(columns) {}

  /// Adds visible text, on a new line where it would not fit on this one but would on the next.
  void add(std::string_view text, int level) {
    const int64_t width = width_of(text.substr(0, text.find('\n')));
    if (column_ + width > columns_ && width <= columns_) end_line();
    while (!text.empty()) {
      const size_t length = std::max<size_t>(utf8_length(text.substr(0, 4)), 1);
      if (text[0] == '\n') {
        end_line();
      } else {
        add_character(text.substr(0, length), level);
      }
      text.remove_prefix(length);
    }
  }

  std::string finish() {
    if (!line_.empty()) end_line();
    return std::move(out_);
  }

 private:
  static int64_t width_of(std::string_view text) {
    int64_t width = 0;
    while (!text.empty()) {
      width += cell_width(front_character(text));
      text.remove_prefix(std::max<size_t>(utf8_length(text.substr(0, 4)), 1));
    }
    return width;
  }

  void add_character(std::string_view character, int level) {
    const int64_t width = cell_width(front_character(character));
    if (column_ + width > columns_) end_line();
    if (colors_ && level != level_) {
      if (level_ >= 0) line_ += kReset;
      line_ += kStyles[static_cast<size_t>(level)];
      level_ = level;
    }
    line_ += character;
    marks_.append(static_cast<size_t>(width), kMarks[static_cast<size_t>(level)]);
    column_ += width;
  }

  void end_line() {
    out_ += line_;
    if (level_ >= 0) out_ += kReset;
    out_ += '\n';
    if (!colors_) {
      marks_.resize(marks_.find_last_not_of(' ') + 1);
      out_ += marks_ + '\n';
    }
    line_.clear();
    marks_.clear();
    column_ = 0;
    level_ = -1;
  }

  bool colors_;
  int64_t columns_;
  std::string out_;
  std::string line_;   // the last, not in out_ yet
  std::string marks_;  // below it
  int64_t column_ = 0;
  int level_ = -1;  // whose style is set; -1: none is
};

std::string numbers_line(const KeptRecord& record, const std::vector<int64_t>& counts,
                         int64_t pairs) {
  int64_t all = 0;
  int64_t none = 0;
  for (const int64_t count : counts) {
    if (count == 0) {
      ++none;
    } else if (count == pairs) {
      ++all;
    }
  }
  std::string line = "policy " + visible_text(record.policy);
  if (record.budget) line += ", budget " + std::to_string(*record.budget);
  return line + ": " + std::to_string(record.n_tokens) + " tokens; of " + std::to_string(pairs) +
         " query heads in " + std::to_string(record.n_layers) + " layers, all see " +
         std::to_string(all) + " tokens, some see " + std::to_string(record.n_tokens - all - none) +
         ", none sees " + std::to_string(none) + "\n";
}

/// What each level means, shown as it is in the text.
std::string legend(bool colors) {
  std::string line = "seen by";
  for (int level = 0; level < kKeptLevels; ++level) {
    const auto i = static_cast<size_t>(level);
    std::string words = "all";
    if (level == 0) {
      words = "none";
    } else if (i <= kKeptLevelPercent.size()) {
      words = "<" + std::to_string(kKeptLevelPercent[i - 1]) + "%";
    } else if (level + 1 < kKeptLevels) {
      words = ">=" + std::to_string(kKeptLevelPercent.back()) + "%";
    }
    line += ' ';
    if (colors) {
      line += std::string(kStyles[i]) + " " + words + " " + std::string(kReset);
    } else {
      line += words + " '" + kMarks[i] + "' ";
    }
  }
  while (line.back() == ' ') line.pop_back();
  return line + "\n\n";
}

/// Adds pieces [begin, end), which nobody kept, the middle of a long run as the number of its
/// tokens.
void add_dropped(ShadedLines& lines, std::span<const KeptPiece> run) {
  const int64_t n_tokens = run.back().first + run.back().n - run.front().first;
  const auto ends = static_cast<size_t>(kRunEnds);
  if (n_tokens <= kLongestRun || run.size() <= 2 * ends) {
    for (const KeptPiece& piece : run) lines.add(piece.text, 0);
    return;
  }
  for (const KeptPiece& piece : run.first(ends)) lines.add(piece.text, 0);
  const int64_t hidden = run[run.size() - ends].first - run[ends].first;
  lines.add(" … " + std::to_string(hidden) + " tokens dropped … ", kNote);
  for (const KeptPiece& piece : run.last(ends)) lines.add(piece.text, 0);
}

}  // namespace

std::string kept_text(const KeptRecord& record, std::span<const std::string> token_text,
                      bool colors, int64_t columns) {
  WINNOW_CHECK(static_cast<int64_t>(token_text.size()) == record.n_tokens, "a text for each token");
  const std::vector<int64_t> counts = kept_counts(record);
  const int64_t pairs = kept_pairs(record);
  const std::vector<KeptPiece> pieces = kept_pieces(token_text);
  const auto most = [&](const KeptPiece& piece) {
    const auto first = counts.begin() + piece.first;
    return *std::max_element(first, first + piece.n);
  };

  ShadedLines lines(colors, std::max<int64_t>(columns, 40));
  for (size_t i = 0; i < pieces.size();) {
    size_t end = i;
    while (end < pieces.size() && most(pieces[end]) == 0) ++end;
    if (end > i) {
      add_dropped(lines, std::span(pieces).subspan(i, end - i));
    } else {
      lines.add(pieces[i].text, kept_level(most(pieces[i]), pairs));
      end = i + 1;
    }
    i = end;
  }
  return numbers_line(record, counts, pairs) + legend(colors) + lines.finish();
}

}  // namespace winnow
