#include "src/base/out_of_memory.h"

#include <unistd.h>

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

}  // namespace

void end_out_of_memory() noexcept {
  end("winnow: out of memory\n", ExitCode::kMemory);
}

void end_uncaught() noexcept {
  try {
    if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    end_out_of_memory();
  } catch (...) {
  }
  end("winnow: internal error: an exception that could not be caught\n", ExitCode::kInternal);
}

}  // namespace winnow
