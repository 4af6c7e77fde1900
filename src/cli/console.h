// Messages to the user, on stderr: never on stdout, which carries results alone.
#pragma once

#include <string>
#include <string_view>

#include "src/cli/options.h"

namespace winnow {

class Console {
 public:
  /// `verbosity`: -1 errors only, 0 also warnings and summaries, 1 also notes, 2 everything.
  Console(int verbosity, ColorMode color);
  explicit Console(const ModelOptions& options) : Console(options.verbosity, options.color) {}

  /// Whether colours may be written to stderr.
  bool color() const { return color_; }

  void error(std::string_view message) const { write(-1, "winnow: ", "\x1b[31m", message); }
  void warn(std::string_view message) const { write(0, "winnow: warning: ", "\x1b[33m", message); }
  void summary(std::string_view line) const { write(0, "", "", line); }
  void note(std::string_view message) const { write(1, "winnow: ", "", message); }
  void detail(std::string_view message) const { write(2, "", "", message); }

 private:
  /// One line at most `level` loud; the prefix in colour where the terminal takes it.
  void write(int level, std::string_view prefix, std::string_view color,
             std::string_view message) const;

  int verbosity_;
  bool color_;
};

/// A message as the one line that it has to be, with '?' for control bytes: a path in it may hold
/// any byte.
std::string one_line(std::string_view message);

}  // namespace winnow
