// The regular expressions by which byte-level BPE cuts a text into words before anything is merged.
//
// Each tokenizer's file brings its own, in the syntax of another library (Oniguruma), where some
// signs mean something else: possessive counts, for one. A pattern that is not in the list here is
// therefore refused, and never run as it stands.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace winnow {

// As tokenizer.json files write them.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kDigitPattern = R"(\p{N})";    // each digit apart
inline constexpr std::string_view kDigitsPattern = R"(\p{N}+)";  // each number apart

/// `pattern` for PCRE2; nothing where it is not known. Known are those above, Llama-3's also with
/// other counts of digits ({1,2}, +), and that of Mistral's Tekken. None matches the empty text.
///
/// \s and \S are written out, because PCRE2 has U+180E among them, which is white space no more.
/// What letters and digits there are is up to the age of PCRE2's Unicode tables, as it is up to
/// that of the other library's.
std::optional<std::string> pcre2_split_pattern(std::string_view pattern);

}  // namespace winnow
