// Command lines in tests: parsed, refused, or answered with a text.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/cli/options.h"
#include "tests/support/expect_error.h"
#include "tests/support/shown.h"

namespace winnow::test {

using Line = std::vector<std::string>;

inline std::optional<CommandLine> parse(const Line& line) {
  std::vector<const char*> argv = {"winnow"};
  for (const std::string& word : line) argv.push_back(word.c_str());
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

/// The options of `line`, which must be of the command that Options belongs to.
template <class Options>
Options parse_as(const Line& line) {
  const std::optional<CommandLine> command = parse(line);
  REQUIRE(command.has_value());
  REQUIRE(std::holds_alternative<Options>(*command));
  return std::get<Options>(*command);
}

/// The words of a line that holds no quotes.
inline Line words(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

/// The options of `line` with "generate -m d" in front.
inline GenerateOptions generate(Line line) {
  line.insert(line.begin(), {"generate", "-m", "d"});
  return parse_as<GenerateOptions>(line);
}

inline void refuse(const Line& line, std::initializer_list<std::string_view> parts) {
  std::string shown = "winnow";
  for (const std::string& word : line) shown += " " + word.substr(0, 100);
  CAPTURE(shown);
  expect_error(ExitCode::kUsage, parts, [&] { parse(line); });
}

inline void refuse_generate(Line line, std::initializer_list<std::string_view> parts) {
  line.insert(line.begin(), {"generate", "-m", "d"});
  refuse(line, parts);
}

/// What `line` prints to stdout; it must ask for nothing else.
inline std::string printed(const Line& line) {
  std::ostringstream out;
  std::streambuf* const old = std::cout.rdbuf(out.rdbuf());
  const std::optional<CommandLine> command = parse(line);
  std::cout.rdbuf(old);
  CHECK_FALSE(command.has_value());
  return out.str();
}

inline const Line kCommands = {"generate", "tokenize", "inspect", "check", "logits", "bench"};

}  // namespace winnow::test
