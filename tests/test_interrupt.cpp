// Signals, each in a process of its own.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <utility>

#include "src/base/error.h"
#include "src/cli/interrupt.h"

using namespace winnow;

namespace {

/// The exit status of process `child`, or 1000 + the signal that ended it.
int status_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/// A child that installs the handlers, runs `body` and ends with its result; an alarm ends it where
/// it would hang.
pid_t start_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child != 0) return child;
  alarm(30);
  install_interrupt_handlers();
  _exit(body());
}

/// The code that check_interrupt() fails with, 0 where it does not.
int code_of_check() {
  try {
    check_interrupt();
  } catch (const Error& error) {
    return static_cast<int>(error.code());
  }
  return 0;
}

/// Waits until process `child` sleeps in a system call.
bool wait_until_asleep(pid_t child) {
  for (int i = 0; i < 1000; ++i) {
    std::ifstream file("/proc/" + std::to_string(child) + "/stat");
    std::string line;
    std::getline(file, line);
    const size_t name_end = line.rfind(')');  // "PID (name) S ..."
    if (name_end != std::string::npos && line.compare(name_end, 3, ") S") == 0) return true;
    usleep(10000);
  }
  return false;
}

}  // namespace

TEST_CASE("interrupt: without a signal nothing is asked") {
  CHECK(status_of(start_child([] { return interrupt_signal() + code_of_check(); })) == 0);
}

TEST_CASE("interrupt: the first signal sets the flag, check_interrupt fails with its code") {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    const auto body = [signal = signal] {
      raise(signal);
      return interrupt_signal() == signal ? code_of_check() : 1;
    };
    CHECK(status_of(start_child(body)) == code);
  }
}

TEST_CASE("interrupt: the second signal ends the process with its code") {
  const auto after = [](int first, int second) {
    return status_of(start_child([=] {
      raise(first);
      raise(second);
      return 1;
    }));
  };
  CHECK(after(SIGINT, SIGINT) == 130);
  CHECK(after(SIGTERM, SIGTERM) == 143);
  CHECK(after(SIGINT, SIGTERM) == 143);
  CHECK(after(SIGTERM, SIGINT) == 130);
}

TEST_CASE("interrupt: a cleared signal is forgotten, the next one is a first one again") {
  const auto body = [] {
    raise(SIGINT);
    clear_interrupt();
    if (interrupt_signal() != 0 || code_of_check() != 0) return 1;
    raise(SIGINT);
    return code_of_check();
  };
  CHECK(status_of(start_child(body)) == 130);
}

TEST_CASE("interrupt: a read that waits for input returns") {
  std::array<int, 2> ends{};  // nothing is ever written
  REQUIRE(pipe(ends.data()) == 0);
  const pid_t child = start_child([&] {
    char byte = 0;
    const bool stopped = read(ends[0], &byte, 1) == -1 && errno == EINTR;
    return stopped ? code_of_check() : 1;
  });
  CHECK(wait_until_asleep(child));
  kill(child, SIGINT);
  CHECK(status_of(child) == 130);
  close(ends[0]);
  close(ends[1]);
}
