#include "src/base/out_of_memory.h"

#include <unistd.h>

#include <atomic>
#include <exception>
#include <string_view>

#include "src/base/error.h"

namespace winnow {
namespace {

[[noreturn]] void end(std::string_view line, ExitCode code) noexcept {
  const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
  (void)ignored;  // there is nobody else to tell
  _exit(static_cast<int>(code));
}

/// Whether an allocation failed. Where an exception ends a program, g++ does not always tell which
/// one it was.
std::atomic<bool> memory_ran_out{false};

/// A new_handler that changes nothing but the flag.
void note_and_throw() {
  memory_ran_out = true;
  throw std::bad_alloc();
}

[[noreturn]] void end_uncaught() noexcept {
  if (memory_ran_out) end_out_of_memory();
  end("winnow: internal error: an exception that nobody could catch\n", ExitCode::kInternal);
}

}  // namespace

void end_out_of_memory() noexcept {
  end("winnow: out of memory\n", ExitCode::kMemory);
}

void install_last_handlers() noexcept {
  std::set_new_handler(&note_and_throw);
  std::set_terminate(&end_uncaught);
}

}  // namespace winnow
