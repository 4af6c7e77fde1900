#include "src/chat/line_input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "src/base/error.h"
#include "src/cli/interrupt.h"

namespace winnow {
namespace {

using Event = InputLine::Event;

constexpr size_t kMaxLineBytes = size_t{64} << 20;
constexpr std::string_view kQuotes = "\"\"\"";

class PlainInput : public LineInput {
 public:
  explicit PlainInput(bool interactive) : interactive_(interactive) {}

  InputLine read(std::string_view prompt) override {
    if (interactive_) std::fwrite(prompt.data(), 1, prompt.size(), stderr);
    std::string line;
    while (true) {
      const size_t end = std::string_view(block_).find('\n', at_);
      const size_t n = (end == std::string::npos ? block_.size() : end) - at_;
      line.append(block_, at_, n);
      if (line.size() > kMaxLineBytes) {
        fail(ExitCode::kPrompt, "stdin: a line of more than 64 MiB fits no model");
      }
      at_ += n;
      if (end != std::string::npos) {
        ++at_;
        if (line.ends_with('\r')) line.pop_back();
        return {Event::kLine, std::move(line)};
      }
      if (interrupted()) return {Event::kInterrupt, {}};
      if (!next_block() && interrupt_signal() == 0) {
        if (line.empty()) return {Event::kEnd, {}};
        return {Event::kLine, std::move(line)};
      }
    }
  }

  bool interactive() const override { return interactive_; }

 private:
  /// False at the end of the input, or where a signal came.
  bool next_block() {
    at_ = 0;
    block_.clear();
    if (!wait_for_stdin()) return false;
    block_.resize(size_t{1} << 16);
    const ssize_t n = ::read(STDIN_FILENO, block_.data(), block_.size());
    const int error = errno;
    block_.resize(n > 0 ? static_cast<size_t>(n) : 0);
    if (n < 0 && error != EINTR) {
      fail(ExitCode::kIo, "stdin: cannot read: ", std::strerror(error));
    }
    return n > 0 || (n < 0 && interrupt_signal() == 0);
  }

  /// Whether a person's Ctrl-C took the line back.
  bool interrupted() const {
    if (!interactive_ || interrupt_signal() != SIGINT) {
      check_interrupt();
      return false;
    }
    clear_interrupt();
    std::fputc('\n', stderr);
    return true;
  }

  bool interactive_;
  std::string block_;
  size_t at_ = 0;  // of what was not given yet
};

bool terminal_moves_cursor() {
  const char* const name = std::getenv("TERM");
  return name != nullptr && *name != '\0' && std::string_view(name) != "dumb";
}

/// Everything up to a line that ends with """.  `first`: what stands behind the opening """
InputTurn read_quoted(LineInput& input, std::string first) {
  InputTurn turn{Event::kLine, std::move(first), true};
  while (!turn.text.ends_with(kQuotes)) {
    const InputLine line = input.read("... ");
    if (line.event == Event::kEnd) return turn;
    if (line.event == Event::kInterrupt) return {line.event};
    turn.text += "\n" + line.text;
  }
  turn.text.resize(turn.text.size() - kQuotes.size());
  return turn;
}

}  // namespace

// A signal between the look at it and a read that waits would be noticed with the next key alone:
// so it is looked at four times a second.
bool wait_for_stdin() {
  constexpr int kMilliseconds = 250;
  while (interrupt_signal() == 0) {
    pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int n = poll(&input, 1, kMilliseconds);
    if (n > 0 || (n < 0 && errno != EINTR)) return true;
  }
  return false;
}

std::unique_ptr<LineInput> make_plain_input(bool interactive) {
  return std::make_unique<PlainInput>(interactive);
}

std::unique_ptr<LineInput> open_line_input() {
  const bool interactive = isatty(STDIN_FILENO) == 1;
  const bool edits = interactive && isatty(STDERR_FILENO) == 1 && terminal_moves_cursor();
  return edits ? make_line_editor() : make_plain_input(interactive);
}

InputTurn read_turn(LineInput& input) {
  InputLine line = input.read("> ");
  if (line.event != Event::kLine) return {line.event};
  if (line.text.starts_with(kQuotes)) return read_quoted(input, line.text.substr(kQuotes.size()));
  InputTurn turn{Event::kLine, std::move(line.text)};
  while (turn.text.ends_with('\\')) {
    line = input.read("... ");
    if (line.event == Event::kInterrupt) return {line.event};
    if (line.event == Event::kEnd) return turn;
    turn.text.back() = '\n';
    turn.text += line.text;
  }
  return turn;
}

}  // namespace winnow
