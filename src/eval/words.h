// The words that needles are made of: a key is "the ADJECTIVE NOUN", a value some words of
// `values`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace winnow {

struct NeedleWords {
  std::vector<std::string> adjectives;
  std::vector<std::string> nouns;
  std::vector<std::string> values;
};

/// Common English words, for models that were not trained on such needles.
NeedleWords default_needle_words();

/// The lists "key_adjectives", "key_nouns" and "value_words" of a JSON object; other members are
/// passed over. A model's training leaves such a file behind: words that it never saw in a needle.
/// Fails with kIo where the file cannot be read or lacks a list, or where a list is empty or holds
/// anything but words without white space.
NeedleWords read_needle_words(const std::filesystem::path& path);

}  // namespace winnow
