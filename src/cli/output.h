// Where results go: stdout or a file, with every write checked.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace winnow {

class Output {
 public:
  /// An empty path is stdout. Fails with kIo where the file cannot be written.
  explicit Output(const std::filesystem::path& file);

  /// Writes at once, so that text appears as it is generated, and all of it: a signal does not cut
  /// it. Where the output is a terminal, control characters other than tab and line break are shown
  /// as \xNN, because a terminal would obey them. Fails with kIo.
  void write(std::string_view text);

  /// A line break where the output is a terminal whose cursor is not at the start of a line.
  void end_line_on_terminal();

 private:
  /// A file that is closed with its owner.
  struct OwnedFile {
    int fd = -1;

    OwnedFile() = default;
    OwnedFile(const OwnedFile&) = delete;
    OwnedFile& operator=(const OwnedFile&) = delete;
    ~OwnedFile();
  };

  OwnedFile file_;  // none where this is stdout
  int fd_ = -1;
  std::string name_;
  bool terminal_ = false;
  bool at_line_start_ = true;
};

/// `text` (valid UTF-8) with the control characters U+0000..U+001F, U+007F and U+0080..U+009F as
/// \xNN, tab and line break excepted.
std::string show_control_characters(std::string_view text);

}  // namespace winnow
