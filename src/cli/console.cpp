#include "src/cli/console.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace winnow {
namespace {

bool set_and_not_empty(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

bool terminal_takes_color() {
  const std::string terminal = set_and_not_empty("TERM") ? std::getenv("TERM") : "dumb";
  const bool knows_codes = terminal != "dumb";
  return isatty(STDERR_FILENO) == 1 && knows_codes && !set_and_not_empty("NO_COLOR");
}

}  // namespace

Console::Console(int verbosity, ColorMode color)
    : verbosity_(verbosity),
      color_(color == ColorMode::kAlways || (color == ColorMode::kAuto && terminal_takes_color())) {
}

void Console::write(int level, std::string_view prefix, std::string_view color,
                    std::string_view message) const {
  if (level > verbosity_) return;
  std::string line;
  if (color_ && !color.empty()) {
    line.append(color).append(prefix).append("\x1b[0m");
  } else {
    line.append(prefix);
  }
  line.append(prefix.empty() ? std::string(message) : one_line(message)).push_back('\n');
  std::fwrite(line.data(), 1, line.size(), stderr);
}

std::string one_line(std::string_view message) {
  std::string line(message);
  for (char& byte : line) {
    if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f) byte = '?';
  }
  return line;
}

}  // namespace winnow
