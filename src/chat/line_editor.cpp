// Editing and history with libedit, in its wide form: this file alone knows of it.
#include <fcntl.h>
#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "src/chat/line_input.h"
#include "src/cli/interrupt.h"

namespace winnow {
namespace {

using Event = InputLine::Event;

constexpr int kHistoryLines = 1000;

/// Valid UTF-8 to wide characters, which are code points on Linux, and back.
std::wstring to_wide(std::string_view text) {
  std::wstring wide;
  while (!text.empty()) {
    const size_t n = utf8_length(text);
    uint32_t code = static_cast<uint8_t>(text[0]);
    if (n > 1) code &= 0xffU >> (n + 1);
    for (size_t i = 1; i < n; ++i) code = code << 6 | (static_cast<uint8_t>(text[i]) & 0x3fU);
    wide.push_back(static_cast<wchar_t>(code));
    text.remove_prefix(n);
  }
  return wide;
}

std::string to_utf8(std::wstring_view wide) {
  std::string text;
  for (const wchar_t character : wide) {
    const auto code = static_cast<uint32_t>(std::char_traits<wchar_t>::to_int_type(character));
    int more = 0;  // bytes after the first
    if (code >= 0x80) more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    constexpr uint32_t kFirst[] = {0, 0xc0, 0xe0, 0xf0};
    text.push_back(static_cast<char>(kFirst[more] | code >> (6 * more)));
    while (more-- > 0) text.push_back(static_cast<char>(0x80U | (code >> (6 * more) & 0x3fU)));
  }
  return text;
}

class LineEditor : public LineInput {
 public:
  LineEditor();
  ~LineEditor() override;
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  InputLine read(std::string_view prompt) override;
  bool interactive() const override { return true; }

 private:
  static LineEditor& of(EditLine* editor);
  static wchar_t* show_prompt(EditLine* editor) { return of(editor).prompt_.data(); }
  static int read_character(EditLine* editor, wchar_t* character);

  std::FILE* out_;
  EditLine* editor_ = nullptr;
  HistoryW* history_ = nullptr;
  std::wstring prompt_;
  int error_ = 0;
};

LineEditor::LineEditor() : out_(fdopen(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), "w")) {
  WINNOW_CHECK(out_ != nullptr, "stderr cannot be opened again");
  std::setlocale(LC_CTYPE, "C.UTF-8");  // libedit writes characters by the locale
  editor_ = el_init("winnow", stdin, out_, out_);
  history_ = history_winit();
  WINNOW_CHECK(editor_ != nullptr && history_ != nullptr, "no line editor");
  HistEventW event;
  history_w(history_, &event, H_SETSIZE, kHistoryLines);
  history_w(history_, &event, H_SETUNIQUE, 1);
  el_wset(editor_, EL_CLIENTDATA, this);
  el_wset(editor_, EL_EDITOR, L"emacs");
  el_wset(editor_, EL_SIGNAL, 0);  // a libedit that handles them kills the process group again
  el_wset(editor_, EL_PROMPT, &LineEditor::show_prompt);
  el_wset(editor_, EL_GETCFN, &LineEditor::read_character);
  el_wset(editor_, EL_HIST, history_w, history_);
  el_wset(editor_, EL_BIND, L"^R", L"em-inc-search-prev", nullptr);
  el_source(editor_, nullptr);  // ~/.editrc
}

LineEditor::~LineEditor() {
  el_end(editor_);  // the terminal is as it was
  history_wend(history_);
  std::fclose(out_);
}

LineEditor& LineEditor::of(EditLine* editor) {
  void* self = nullptr;
  el_wget(editor, EL_CLIENTDATA, &self);
  return *static_cast<LineEditor*>(self);
}

/// The next whole character of stdin; 0 at the end, -1 after a signal or an error. Bytes that are
/// no character become U+FFFD.
int LineEditor::read_character(EditLine* editor, wchar_t* character) {
  std::string bytes;
  while (true) {
    if (!wait_for_stdin()) return -1;
    char byte = 0;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n < 0 && errno == EINTR && interrupt_signal() == 0) continue;
    if (n < 0) of(editor).error_ = errno;
    if (n <= 0) return static_cast<int>(n);
    bytes.push_back(byte);
    if (utf8_length(bytes) == 0 && bytes.size() < 4 && static_cast<uint8_t>(bytes[0]) >= 0xc2) {
      continue;
    }
    *character = utf8_length(bytes) == 0 ? L'\xfffd' : to_wide(bytes).front();
    return 1;
  }
}

InputLine LineEditor::read(std::string_view prompt) {
  prompt_ = to_wide(prompt);
  error_ = 0;
  el_resize(editor_);
  el_wset(editor_, EL_PREP_TERM, 1);  // or keys that follow the prompt at once would go astray
  int n = 0;
  const wchar_t* const text = el_wgets(editor_, &n);
  if (text == nullptr || n <= 0) {
    std::fputc('\n', out_);
    std::fflush(out_);
    if (interrupt_signal() == SIGINT) {
      clear_interrupt();
      return {Event::kInterrupt, {}};
    }
    check_interrupt();
    // A terminal that is gone gives EIO.
    if (error_ != 0 && error_ != EIO) {
      fail(ExitCode::kIo, "stdin: cannot read: ", std::strerror(error_));
    }
    return {Event::kEnd, {}};
  }
  std::wstring line(text, static_cast<size_t>(n));
  if (line.ends_with(L'\n')) line.pop_back();
  HistEventW event;
  if (!line.empty()) history_w(history_, &event, H_ENTER, line.c_str());
  return {Event::kLine, to_utf8(line)};
}

}  // namespace

std::unique_ptr<LineInput> make_line_editor() {
  return std::make_unique<LineEditor>();
}

}  // namespace winnow
