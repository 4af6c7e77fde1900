// The commands and their options: what --help lists.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "src/cli/options.h"

namespace CLI {
class App;
}

namespace winnow {

/// A command as CLI11 knows it, and what turns a parsed line into values: reads all options, then
/// checks what concerns several. finish() fails with kUsage.
struct Command {
  CLI::App* app = nullptr;  // owned by the root
  std::function<CommandLine()> finish;
  /// Takes the words of the line that are neither options nor their values; fails with kUsage. Null
  /// where a command has no use for them.
  std::function<void(const std::vector<std::string>& words)> take_words = nullptr;
};

/// Adds every command to `root`, whose footer, formatter and settings they take over. What is
/// returned must live until the line was parsed.
std::vector<Command> add_commands(CLI::App& root);

}  // namespace winnow
