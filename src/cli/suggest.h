// "Did you mean": the known word that is nearest to a mistyped one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace winnow {

/// How many letters must be inserted, removed or replaced to turn `a` into `b`. Time a.size() *
/// b.size().
size_t edit_distance(std::string_view a, std::string_view b);

/// The word of `known` that is nearest to `word`, the first of equals; empty where none is near:
/// one edit, and one more for every four letters, may lie between them.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace winnow
