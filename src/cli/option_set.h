// The options of one command: their names and help, which CLI11 keeps, and how each value is read,
// strictly, into the field it belongs to.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/cli/number.h"

namespace CLI {  // its header takes seconds to compile
class App;
class Option;
}  // namespace CLI

namespace winnow {

/// An option's names as CLI11 takes them ("-n,--max-tokens"), what stands for its value in the help
/// ("N"), and what it means.
struct OptionText {
  std::string names;
  std::string value;
  std::string help;
};

/// The words that an option takes, and what each stands for.
template <class T>
using Choices = std::vector<std::pair<std::string, T>>;

/// Fails with kUsage where `value` is empty.
void refuse_empty(const std::string& name, const std::string& value);

/// `value` as a number of `range`. Fails with kUsage, naming the option and the range.
template <class T>
T read_number(const std::string& name, const std::string& value, Range<T> range) {
  const std::optional<T> number = parse_number<T>(value);
  if (number && range.contains(*number)) return *number;
  fail(ExitCode::kUsage, name, " must be ", describe(range), ", not ", quoted(value));
}

/// Adds options to an App and, after the parse, reads their values. Fields are bound by reference
/// and must outlive the set.
class OptionSet {
 public:
  explicit OptionSet(CLI::App& app) : app_(app) {}
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  /// Takes one value of the option called `name`; fails with kUsage where it does not like it.
  using Reader = std::function<void(const std::string& name, const std::string& value)>;

  /// Options that are added from now on stand under `name` in the help.
  void begin_group(const std::string& name) { group_ = name; }

  /// A flag, given once at most, or any number of times; `action` is called for each.
  CLI::Option* add_flag(const OptionText& text, std::function<void()> action);
  CLI::Option* add_flags(const OptionText& text, std::function<void()> action);

  /// An option with a value, given once at most, or any number of times.
  CLI::Option* add_value(const OptionText& text, Reader reader);
  CLI::Option* add_values(const OptionText& text, Reader reader);

  /// A path; may not be empty.
  CLI::Option* add_path(const OptionText& text, std::filesystem::path& field);

  /// A number of `range`. Field is T or std::optional<T>; what it holds now is the default that the
  /// help names.
  template <class Field, class T>
  CLI::Option* add_number(const OptionText& text, Field& field, Range<T> range);

  /// Numbers of `range`, separated by commas.
  template <class T>
  CLI::Option* add_numbers(const OptionText& text, std::vector<T>& field, Range<T> range);

  /// One of the words of `choices`. Where the value of `field` is among them it is the default that
  /// the help names.
  template <class T>
  CLI::Option* add_choice(const OptionText& text, T& field, const Choices<T>& choices);

  /// Only one of the two may be given.
  void exclude(const CLI::Option* a, const CLI::Option* b) { excluded_.push_back({a, b}); }

  /// The option may be given only where `holds()`, which is asked when values are read; `why`
  /// completes "--name ".
  void allow_if(const CLI::Option* option, std::function<bool()> holds, const std::string& why) {
    conditions_.push_back({option, std::move(holds), why});
  }

  /// Whether the option of that name was given.
  bool given(const std::string& name) const;

  /// Reads all values that were given into their fields. Fails with kUsage.
  void read() const;

 private:
  struct Entry {
    CLI::Option* option;
    bool repeatable;
    Reader reader;
  };
  struct Condition {
    const CLI::Option* option;
    std::function<bool()> holds;
    std::string why;
  };

  template <class T>
  static std::string with_default(const std::string& help, const T& value);
  template <class T>
  static std::string with_default(const std::string& help, const std::optional<T>&) {
    return help;
  }

  CLI::App& app_;
  std::string group_ = "Options";
  std::vector<Entry> entries_;
  std::vector<std::pair<const CLI::Option*, const CLI::Option*>> excluded_;
  std::vector<Condition> conditions_;
};

/// "a", "a or b", "a, b or c".
std::string join_words(const std::vector<std::string>& words);

template <class T>
std::string OptionSet::with_default(const std::string& help, const T& value) {
  std::ostringstream text;
  text << help << " (default " << value << ')';
  return text.str();
}

template <class Field, class T>
CLI::Option* OptionSet::add_number(const OptionText& text, Field& field, Range<T> range) {
  const auto read = [&field, range](const std::string& name, const std::string& value) {
    field = read_number(name, value, range);
  };
  return add_value({text.names, text.value, with_default(text.help, field)}, read);
}

template <class T>
CLI::Option* OptionSet::add_numbers(const OptionText& text, std::vector<T>& field, Range<T> range) {
  const auto read = [&field, range](const std::string& name, const std::string& value) {
    std::optional<std::vector<T>> numbers = parse_number_list<T>(value, range);
    if (!numbers) {
      fail(ExitCode::kUsage, name, " must be a list like 1,2,3, each ", describe(range), ", not ",
           quoted(value));
    }
    field = *std::move(numbers);
  };
  if (field.empty()) return add_value(text, read);
  return add_value({text.names, text.value, with_default(text.help, field.front())}, read);
}

/// "a, b, c", in lines that the help has room for.
std::string words_in_lines(const std::vector<std::string>& words);

template <class T>
CLI::Option* OptionSet::add_choice(const OptionText& text, T& field, const Choices<T>& choices) {
  std::vector<std::string> words;
  std::string alternatives;
  std::string default_word;
  for (const auto& [word, meaning] : choices) {
    words.push_back(word);
    alternatives += (alternatives.empty() ? "" : "|") + word;
    if (meaning == field) default_word = word;
  }
  const auto read = [&field, choices, words](const std::string& name, const std::string& value) {
    for (const auto& [word, meaning] : choices) {
      if (word != value) continue;
      field = meaning;
      return;
    }
    fail(ExitCode::kUsage, name, " must be ", join_words(words), ", not ", quoted(value));
  };
  constexpr size_t kMostBeside = 60;  // characters of alternatives that a name has room for
  const bool beside = alternatives.size() <= kMostBeside;
  const std::string what = beside ? text.help : text.help + ":\n" + words_in_lines(words);
  const std::string help = default_word.empty() ? what : with_default(what, default_word);
  return add_value({text.names, beside ? alternatives : "NAME", help}, read);
}

}  // namespace winnow
