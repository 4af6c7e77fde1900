// What the user types or pipes in, line by line, and the turns that lines make.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace winnow {

struct InputLine {
  enum class Event {
    kLine,
    kEnd,        // of the input
    kInterrupt,  // Ctrl-C at the prompt: what was typed is gone, and the signal forgotten
  };
  Event event = Event::kLine;
  std::string text = {};
};

class LineInput {
 public:
  virtual ~LineInput() = default;

  /// The next line, without its end. `prompt` is shown on stderr where a person types. Fails with
  /// kIo where it cannot be read, with kPrompt where it is longer than 64 MiB, with kTerminated
  /// after SIGTERM, and where nobody types with kInterrupted after SIGINT.
  virtual InputLine read(std::string_view prompt) = 0;

  /// Whether a person types.
  virtual bool interactive() const = 0;
};

/// Waits until stdin can be read or has ended; false where a signal came.
bool wait_for_stdin();

/// Lines of stdin as they are; `interactive` says that a person types them.
std::unique_ptr<LineInput> make_plain_input(bool interactive);

/// Lines that are edited on the terminal, with those before them at hand. stdin and stderr are
/// terminals that know cursor movement.
std::unique_ptr<LineInput> make_line_editor();

/// The one of the two that fits stdin, stderr and TERM.
std::unique_ptr<LineInput> open_line_input();

/// A turn, or a command.
struct InputTurn {
  InputLine::Event event = InputLine::Event::kLine;
  std::string text = {};
  bool quoted = false;  // it stood between """: not a command, whatever it says
};

/// The next turn: a line; lines that end in a backslash, and the one after them; or everything from
/// a line that starts with """ to a line that ends with """. What the end of the input cuts off is
/// a turn, too.
InputTurn read_turn(LineInput& input);

}  // namespace winnow
