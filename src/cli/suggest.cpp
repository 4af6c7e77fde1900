#include "src/cli/suggest.h"

#include <algorithm>
#include <numeric>

namespace winnow {

// Levenshtein's recurrence, one row of the table at a time. With a' and b' the texts without their
// last letters:
//   d(a, b) = min(d(a', b) + 1, d(a, b') + 1, d(a', b') + (last letters differ))
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  constexpr size_t kLongest = 64;  // letters; nothing known comes near a longer word
  if (word.size() > kLongest) return {};
  std::string nearest;
  size_t distance = 1 + word.size() / 4 + 1;
  for (const std::string& candidate : known) {
    const size_t d = edit_distance(word, candidate);
    if (d >= distance) continue;
    distance = d;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace winnow
