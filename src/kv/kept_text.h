// What was kept, in the terminal (--kv-show): the prompt, every token shaded by how many of the
// layers' query heads still see it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "src/kv/kept.h"

namespace winnow {

/// A line of numbers, a legend, and the text in lines of at most `columns` columns, each shaded in
/// the levels of kept_shares.h: by colours, or without them by a line of marks below it,
///
///   The secret number is … 812 tokens dropped … So the answer is
///   @@@@    .. :::::: ++                        @@@@@@@@@@@@@@@@
///
/// Long runs of tokens that nobody kept are shortened. Of control characters only line breaks and,
/// with `colors`, the colours' own escapes are in the result (see visible_text).
/// `token_text` [n_tokens]: bytes that each token adds to the text; a token that adds none may be
/// given its name, or else shows as ∅.
std::string kept_text(const KeptRecord& record, std::span<const std::string> token_text,
                      bool colors, int64_t columns = 100);

}  // namespace winnow
