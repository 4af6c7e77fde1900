// One error type for the whole program: a message for the user and the exit code it ends with.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace winnow {

/// How the process ends. Documented in `winnow --help` and in the README.
enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,  // a bug, or logits that are not finite
  kUsage = 2,     // bad command line
  kModel = 3,     // model, tokenizer, config or saved cache rejected, or a model's file missing
  kMemory = 4,    // out of memory, host or device
  kDevice = 5,    // no usable GPU, or a CUDA error
  kIo = 6,        // a path that cannot be read or written, or a malformed text or task file
  kPrompt = 7,    // the prompt does not fit
  kInterrupted = 130,  // SIGINT
  kTerminated = 143,   // SIGTERM
};

/// Thrown for everything that ends a command. what() is one line: what, where, why.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// Throws Error with the parts written one after the other.
template <class... Parts>
[[noreturn]] void fail(ExitCode code, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(code, message.str());
}

/// `text` in single quotes, fit for one line of a terminal: control bytes and invalid UTF-8 become
/// \xNN, and what is longer than 96 bytes is cut. For every name that comes out of a file.
std::string quoted(std::string_view text);

// For a std::string argument, std::quoted would be the better match wherever <iomanip> is included.
inline std::string quoted(const std::string& text) {
  return quoted(std::string_view(text));
}
inline std::string quoted(std::string& text) {
  return quoted(std::string_view(text));
}
inline std::string quoted(const char* text) {
  return quoted(std::string_view(text));
}

}  // namespace winnow

/// Stops with an internal error where `condition` does not hold. Never compiled out.
#define WINNOW_CHECK(condition, ...)                                                               \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      ::winnow::fail(::winnow::ExitCode::kInternal, __FILE__, ":", __LINE__, ": " #condition ": ", \
                     __VA_ARGS__);                                                                 \
    }                                                                                              \
  } while (false)
