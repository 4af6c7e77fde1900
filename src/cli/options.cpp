#include "src/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <string_view>

#include "src/base/error.h"
#include "src/cli/option_commands.h"
#include "src/cli/suggest.h"
#include "src/cli/version.h"

namespace winnow {
namespace {

constexpr const char* kSummary =
    "winnow: generates text with Llama-family models, from Hugging Face directories.\n"
    "Options may stand before and after the command; 'winnow COMMAND --help' lists them.\n";

constexpr const char* kExitCodes =
    "Exit codes:\n"
    "  0    success\n"
    "  1    internal error, or logits that are not finite\n"
    "  2    bad command line\n"
    "  3    model, tokenizer, configuration or saved cache rejected\n"
    "  4    out of memory\n"
    "  5    no usable GPU, or a CUDA error\n"
    "  6    a path that cannot be read or written, a malformed text or task file\n"
    "  7    the prompt does not fit\n"
    "  130  interrupted (SIGINT)\n"
    "  143  terminated (SIGTERM)";

/// The words of a command line, sorted.
struct Words {
  std::string command;               // empty: none
  std::vector<std::string> options;  // known options with their values; "--a=b" is two words here
  std::vector<std::string> unknown;  // options that no command has
  std::vector<std::string> strays;   // neither a command, nor an option, nor its value
};

enum class OptionKind { kUnknown, kFlag, kValue };

/// What `name` ("-n", "--seed") is for the root and the commands. A name has the same kind in each.
OptionKind option_kind(const CLI::App& root, const std::string& name) {
  std::vector<const CLI::App*> apps = root.get_subcommands({});
  apps.push_back(&root);
  for (const CLI::App* const app : apps) {
    const CLI::Option* const option = app->get_option_no_throw(name);
    if (option == nullptr) continue;
    return option->get_items_expected_max() == 0 ? OptionKind::kFlag : OptionKind::kValue;
  }
  return OptionKind::kUnknown;
}

/// What the last option of a bundle is: in "-qvm" that of "-m", whose value is the next word. In
/// "-qmDIR" it is a flag: the value is there already.
OptionKind bundle_kind(const CLI::App& root, const std::string& word) {
  for (size_t i = 1; i < word.size(); ++i) {
    const OptionKind kind = option_kind(root, {'-', word[i]});
    if (kind == OptionKind::kUnknown) return kind;
    if (kind == OptionKind::kValue && i + 1 == word.size()) return kind;
    if (kind == OptionKind::kValue) break;
  }
  return OptionKind::kFlag;
}

/// Sorts the option at words[at], and its value. Returns the index of the word after them.
size_t sort_option(const CLI::App& root, const std::vector<std::string>& line, size_t at,
                   Words& words) {
  const bool is_long = line[at].starts_with("--");
  const size_t equals = is_long ? line[at].find('=') : std::string::npos;
  const std::string name = line[at].substr(0, equals);
  const OptionKind kind = is_long ? option_kind(root, name) : bundle_kind(root, name);
  if (kind == OptionKind::kUnknown) {
    words.unknown.push_back(name);
    return at + 1;
  }
  words.options.push_back(name);
  if (equals != std::string::npos) {
    if (kind == OptionKind::kFlag) fail(ExitCode::kUsage, name, " takes no value");
    words.options.push_back(line[at].substr(equals + 1));
    return at + 1;
  }
  if (kind == OptionKind::kFlag) return at + 1;
  if (at + 1 == line.size()) fail(ExitCode::kUsage, name, " needs a value");
  words.options.push_back(line[at + 1]);
  return at + 2;
}

bool is_command(const CLI::App& root, const std::string& word) {
  const std::vector<const CLI::App*> apps = root.get_subcommands({});
  return std::any_of(apps.begin(), apps.end(),
                     [&word](const CLI::App* app) { return app->get_name() == word; });
}

/// The command is the first word that is the name of one and not the value of an option. Everything
/// after "--" is a stray. Fails with kUsage where an option lacks its value, or has one too many.
Words sort_words(const CLI::App& root, const std::vector<std::string>& line) {
  Words words;
  bool options_end = false;
  for (size_t at = 0; at < line.size();) {
    const std::string& word = line[at];
    if (!options_end && word.size() > 1 && word[0] == '-' && word != "--") {
      at = sort_option(root, line, at, words);
      continue;
    }
    ++at;
    if (word == "--" && !options_end) {
      options_end = true;
    } else if (!options_end && words.command.empty() && is_command(root, word)) {
      words.command = word;
    } else {
      words.strays.push_back(word);
    }
  }
  return words;
}

/// The end of a message about the unknown `word`: what is like it, or else where to look.
std::string hint(std::string_view word, const std::vector<std::string>& known,
                 const std::string& program) {
  const std::string nearest = nearest_word(word, known);
  return nearest.empty() ? "; see '" + program + " --help'" : "; did you mean '" + nearest + "'?";
}

[[noreturn]] void fail_unknown_option(const std::vector<const CLI::App*>& apps,
                                      const std::string& option, const std::string& program) {
  std::vector<std::string> known;
  for (const CLI::App* const app : apps) {
    for (const CLI::Option* const candidate : app->get_options()) {
      for (const std::string& name : candidate->get_lnames()) known.push_back("--" + name);
    }
  }
  fail(ExitCode::kUsage, "'", program, "' has no option ", quoted(option),
       hint(option, known, program));
}

/// For a line without a command that did not ask for help.
[[noreturn]] void fail_no_command(const CLI::App& root, const Words& words) {
  const std::vector<const CLI::App*> apps = root.get_subcommands({});
  if (!words.unknown.empty()) fail_unknown_option(apps, words.unknown.front(), "winnow");
  if (words.strays.empty()) fail(ExitCode::kUsage, "no command given; see 'winnow --help'");
  std::vector<std::string> names;
  names.reserve(apps.size());
  for (const CLI::App* const app : apps) names.push_back(app->get_name());
  const std::string& word = words.strays.front();
  fail(ExitCode::kUsage, "unknown command ", quoted(word), hint(word, names, "winnow"));
}

/// For what the command of the line does not take.
void refuse_strangers(const Command& command, const Words& words) {
  const CLI::App& app = *command.app;
  const std::string program = "winnow " + app.get_name();
  std::vector<std::string> unknown = words.unknown;
  for (const std::string& other : app.remaining()) unknown.push_back(other);  // another command's
  if (!unknown.empty()) fail_unknown_option({&app}, unknown.front(), program);
  if (command.take_words) return command.take_words(words.strays);
  if (words.strays.empty()) return;
  fail(ExitCode::kUsage, "'", program, "' takes only options, not ", quoted(words.strays.front()));
}

void add_version(CLI::App& app) {
  app.set_version_flag("--version")->description("print the version, and of what it was built");
}

void print(const std::string& text) {
  std::cout << text << std::flush;
  if (!std::cout) fail(ExitCode::kIo, "cannot write to standard output");
}

/// Gives the words to CLI11. False where they asked for a text, which was printed.
bool parse(CLI::App& root, const Words& words) {
  std::vector<std::string> line = words.options;
  if (!words.command.empty()) line.insert(line.begin(), words.command);
  std::reverse(line.begin(), line.end());  // App::parse takes its words from the back
  try {
    root.parse(std::move(line));
    return true;
  } catch (const CLI::CallForHelp&) {
    print(root.help());
  } catch (const CLI::CallForVersion&) {
    print(version_text());
  } catch (const CLI::ParseError& error) {
    fail(ExitCode::kUsage, error.what());
  }
  return false;
}

}  // namespace

std::optional<CommandLine> parse_command_line(int argc, const char* const* argv) {
  CLI::App root(kSummary, "winnow");
  root.footer(kExitCodes);
  root.allow_extras();  // unknown options are told apart here, with a suggestion
  root.require_subcommand(0, 1);
  root.set_help_flag("-h,--help", "print this help");
  root.get_formatter()->label("SUBCOMMAND", "COMMAND");
  const std::vector<Command> commands = add_commands(root);
  add_version(root);
  for (const Command& command : commands) add_version(*command.app);

  const Words words = sort_words(root, {argv + std::min(argc, 1), argv + argc});
  if (!parse(root, words)) return std::nullopt;
  for (const Command& command : commands) {
    if (command.app->get_name() != words.command) continue;
    refuse_strangers(command, words);
    return command.finish();
  }
  fail_no_command(root, words);
}

}  // namespace winnow
