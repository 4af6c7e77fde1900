#include "src/cli/output.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "src/base/error.h"

namespace winnow {

Output::Output(const std::filesystem::path& file) {
  if (file.empty()) {
    file_ = stdout;
    name_ = "stdout";
    terminal_ = isatty(STDOUT_FILENO) == 1;
    return;
  }
  name_ = file.string();
  owned_.reset(std::fopen(file.c_str(), "wb"));
  if (!owned_) fail(ExitCode::kIo, name_, ": cannot write: ", std::strerror(errno));
  file_ = owned_.get();
}

void Output::write(std::string_view text) {
  if (text.empty()) return;
  const std::string shown = terminal_ ? show_control_characters(text) : std::string(text);
  const size_t written = std::fwrite(shown.data(), 1, shown.size(), file_);
  if (written != shown.size() || std::fflush(file_) != 0) {
    fail(ExitCode::kIo, name_, ": cannot write: ", std::strerror(errno));
  }
  at_line_start_ = text.back() == '\n';
}

void Output::end_line_on_terminal() {
  if (terminal_ && !at_line_start_) write("\n");
}

std::string show_control_characters(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string shown;
  for (size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    const bool second_of_c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    const bool control = (byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7f;
    if (!second_of_c1 && !control) {
      shown.push_back(text[i]);
      continue;
    }
    if (second_of_c1) byte = static_cast<unsigned char>(text[++i]);
    shown += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
  }
  return shown;
}

}  // namespace winnow
