#include "src/cli/option_set.h"

#include <CLI/CLI.hpp>

namespace winnow {

void refuse_empty(const std::string& name, const std::string& value) {
  if (value.empty()) fail(ExitCode::kUsage, name, " must not be empty");
}

CLI::Option* OptionSet::add_flag(const OptionText& text, std::function<void()> action) {
  CLI::Option* const option = add_flags(text, std::move(action));
  entries_.back().repeatable = false;
  return option;
}

CLI::Option* OptionSet::add_flags(const OptionText& text, std::function<void()> action) {
  CLI::Option* const option = app_.add_flag(text.names)->description(text.help);
  option->group(group_)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  entries_.push_back(
      {option, true, [action = std::move(action)](const auto&, const auto&) { action(); }});
  return option;
}

// CLI11 keeps every value (TakeAll), so that read() can say in its own words which option came
// twice.
CLI::Option* OptionSet::add_value(const OptionText& text, Reader reader) {
  CLI::Option* const option = add_values(text, std::move(reader));
  entries_.back().repeatable = false;
  return option;
}

CLI::Option* OptionSet::add_values(const OptionText& text, Reader reader) {
  CLI::Option* const option = app_.add_option(text.names)
                                  ->description(text.help)
                                  ->option_text(text.value)
                                  ->group(group_)
                                  ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  entries_.push_back({option, true, std::move(reader)});
  return option;
}

CLI::Option* OptionSet::add_path(const OptionText& text, std::filesystem::path& field) {
  return add_value(text, [&field](const std::string& name, const std::string& value) {
    refuse_empty(name, value);
    field = value;
  });
}

bool OptionSet::given(const std::string& name) const {
  return app_.get_option(name)->count() > 0;
}

void OptionSet::read() const {
  for (const auto& [a, b] : excluded_) {
    if (a->count() == 0 || b->count() == 0) continue;
    fail(ExitCode::kUsage, a->get_name(), " and ", b->get_name(), " exclude each other");
  }
  for (const Condition& condition : conditions_) {
    if (condition.option->count() == 0 || condition.holds()) continue;
    fail(ExitCode::kUsage, condition.option->get_name(), ' ', condition.why);
  }
  for (const Entry& entry : entries_) {
    const std::string name = entry.option->get_name();
    if (entry.option->count() > 1 && !entry.repeatable) {
      fail(ExitCode::kUsage, name, " was given more than once");
    }
    for (const std::string& value : entry.option->results()) entry.reader(name, value);
  }
}

std::string join_words(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::string words_in_lines(const std::vector<std::string>& words) {
  constexpr size_t kWidth = 54;
  std::string lines;
  size_t length = 0;
  for (const std::string& word : words) {
    if (!lines.empty()) lines += ",";
    if (length + word.size() > kWidth) lines += "\n";
    if (length + word.size() > kWidth) length = 0;
    if (length > 0) lines += " ";
    lines += word;
    length += word.size() + 2;
  }
  return lines;
}

}  // namespace winnow
