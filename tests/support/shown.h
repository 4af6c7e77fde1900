// Ids and words, as a failed CHECK shows them: doctest alone shows "{?}". The helpers that most
// tests include bring it along, since all files of a program have to show a type in one way.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace winnow::test {

/// "{1, 2, 3}"; of more than 64 items the first 64 and how many there are.
template <class Items, class Show>
doctest::String shown(const Items& items, const Show& show) {
  constexpr size_t kShown = 64;
  std::string text;
  size_t n = 0;
  for (const auto& item : items) {
    if (n == kShown) break;
    text += (n++ == 0 ? "" : ", ") + show(item);
  }
  if (n < items.size()) text += ", ... " + std::to_string(items.size()) + " in all";
  return ("{" + text + "}").c_str();
}

inline std::string in_quotes(const std::string& word) {
  return "\"" + word + "\"";
}

}  // namespace winnow::test

namespace doctest {

template <>
struct StringMaker<std::vector<int32_t>> {
  static String convert(const std::vector<int32_t>& ids) {
    return winnow::test::shown(ids, [](int32_t id) { return std::to_string(id); });
  }
};

template <>
struct StringMaker<std::vector<std::string>> {
  static String convert(const std::vector<std::string>& words) {
    return winnow::test::shown(words, winnow::test::in_quotes);
  }
};

template <>
struct StringMaker<std::set<std::string>> {
  static String convert(const std::set<std::string>& words) {
    return winnow::test::shown(words, winnow::test::in_quotes);
  }
};

}  // namespace doctest
