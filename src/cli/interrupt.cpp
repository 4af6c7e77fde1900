#include "src/cli/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "src/base/error.h"

namespace winnow {
namespace {

// The one variable of the program that is no object's: a signal handler gets nothing but the
// signal's number. The handler may run on any thread, so it is an atomic; only a lock-free one is
// safe inside a handler.
std::atomic<int> signal_that_came = 0;
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_signal(int signal) {
  if (signal_that_came.exchange(signal) != 0) _exit(128 + signal);
}

}  // namespace

// Without SA_RESTART, a read that waits for input returns when the signal comes.
void install_interrupt_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) {
    WINNOW_CHECK(sigaction(signal, &action, nullptr) == 0, "signal ", signal);
  }
}

int interrupt_signal() {
  return signal_that_came;
}

void check_interrupt() {
  const int signal = signal_that_came;
  if (signal == SIGINT) fail(ExitCode::kInterrupted, "interrupted");
  if (signal == SIGTERM) fail(ExitCode::kTerminated, "terminated");
}

void clear_interrupt() {
  signal_that_came = 0;
}

}  // namespace winnow
