#include "src/cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "src/base/error.h"

namespace winnow {
namespace {

[[noreturn]] void fail_write(const std::string& name, int code) {
  fail(ExitCode::kIo, name, ": cannot write: ", std::generic_category().message(code));
}

}  // namespace

Output::OwnedFile::~OwnedFile() {
  if (fd >= 0) ::close(fd);
}

Output::Output(const std::filesystem::path& file) {
  if (file.empty()) {
    fd_ = STDOUT_FILENO;
    name_ = "stdout";
    terminal_ = isatty(STDOUT_FILENO) == 1;
    return;
  }
  name_ = file.string();
  file_.fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_.fd < 0) fail_write(name_, errno);
  fd_ = file_.fd;
}

void Output::write(std::string_view text) {
  if (text.empty()) return;
  const std::string shown = terminal_ ? show_control_characters(text) : std::string(text);
  for (std::string_view rest = shown; !rest.empty();) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(name_, errno);
    rest.remove_prefix(static_cast<size_t>(n));
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
