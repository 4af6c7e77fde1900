// The text of a progress line, and what reaches stderr: a pipe or a pseudo-terminal.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>

#include "src/base/format_bytes.h"
#include "src/cli/progress.h"

using namespace winnow;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

/// Runs `body` in a child whose stderr is `write_end`; returns what arrives at `read_end`. Closes
/// both.
std::string stderr_of(int read_end, int write_end, const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    dup2(write_end, STDERR_FILENO);
    body();
    _exit(0);
  }
  close(write_end);
  std::string text;
  std::array<char, 4096> block{};
  ssize_t n = 0;
  while ((n = read(read_end, block.data(), block.size())) > 0) {
    text.append(block.data(), static_cast<size_t>(n));
  }
  close(read_end);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  return text;
}

std::string through_pipe(const std::function<void()>& body) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  return stderr_of(ends[0], ends[1], body);
}

/// Nothing where the system has no pseudo-terminals.
std::optional<std::string> through_terminal(const char* term, unsigned short columns,
                                            const std::function<void()>& body) {
  const int controller = posix_openpt(O_RDWR | O_NOCTTY);
  if (controller < 0 || grantpt(controller) != 0 || unlockpt(controller) != 0) return std::nullopt;
  const int terminal = open(ptsname(controller), O_RDWR | O_NOCTTY);
  if (terminal < 0) return std::nullopt;
  winsize size = {};
  size.ws_col = columns;
  ioctl(terminal, TIOCSWINSZ, &size);
  return stderr_of(controller, terminal, [&] {
    if (term == nullptr) {
      unsetenv("TERM");
    } else {
      setenv("TERM", term, 1);
    }
    body();
  });
}

void half_done(ProgressMode mode) {
  Progress progress(mode, "loading", "tokens");
  progress.update(50, 100);
}

}  // namespace

TEST_CASE("format_bytes: units") {
  CHECK(format_bytes(uint64_t{0}) == "0 B");
  CHECK(format_bytes(uint64_t{1023}) == "1023 B");
  CHECK(format_bytes(uint64_t{1536}) == "1.5 KiB");
  CHECK(format_bytes(64 * kMiB) == "64.0 MiB");
  CHECK(format_bytes(uint64_t{5} << 29) == "2.5 GiB");
  CHECK(format_bytes(uint64_t{5} << 49) == "2560.0 TiB");
}

TEST_CASE("progress: a line names label, share, amount, rate and time left") {
  CHECK(Progress::line("loading", "B", 512 * kMiB, 2048 * kMiB, 2, 100) ==
        "loading  25 %  512.0 MiB / 2.0 GiB  256.0 MiB/s  6 s left");
  CHECK(Progress::line("reading", "tokens", 500, 2000, 2, 100) ==
        "reading  25 %  500 tokens / 2000 tokens  250 tokens/s  6 s left");
}

TEST_CASE("progress: what is not known is left out") {
  CHECK(Progress::line("reading", "tokens", 500, 0, 2, 100) == "reading  500 tokens  250 tokens/s");
  CHECK(Progress::line("reading", "tokens", 5, 10, 0, 100) ==
        "reading  50 %  5 tokens / 10 tokens");
  CHECK(Progress::line("reading", "tokens", 0, 10, 3, 100) == "reading  0 %  0 tokens / 10 tokens");
  CHECK(Progress::line("reading", "tokens", 0, 0, 0, 100) == "reading  0 tokens");
}

TEST_CASE("progress: more than everything is everything, and less is not 100 %") {
  CHECK(Progress::line("x", "tokens", 30, 20, 1, 100) ==
        "x  100 %  20 tokens / 20 tokens  20 tokens/s");
  CHECK(Progress::line("x", "tokens", 9999, 10000, 1, 12) == "x  99 %");
}

TEST_CASE("progress: long durations are in minutes and hours") {
  const auto left = [](uint64_t total) {
    const std::string line = Progress::line("x", "t", 1, total, 1, 200);
    return line.substr(line.rfind("  ") + 2);
  };
  CHECK(left(60) == "59 s left");
  CHECK(left(201) == "3 min 20 s left");
  CHECK(left(7501) == "2 h 5 min left");
  CHECK(left(UINT64_MAX).size() < 40);
}

TEST_CASE("progress: a line fits every width") {
  const std::string whole = Progress::line("loading", "B", kMiB, 4096 * kMiB, 3, 1000);
  for (int width = -1; width < 120; ++width) {
    const std::string line = Progress::line("loading", "B", kMiB, 4096 * kMiB, 3, width);
    CHECK(line.size() <= static_cast<size_t>(std::max(width, 0)));
    CHECK(whole.compare(0, line.size(), line) == 0);
  }
}

TEST_CASE("progress: nothing is written to a pipe unless asked for") {
  CHECK(through_pipe([] {
          setenv("TERM", "xterm", 1);
          Progress progress(ProgressMode::kAuto, "loading", "B");
          for (int i = 0; i < 12; ++i) {
            usleep(100000);
            progress.update(kMiB, 2 * kMiB);
          }
        }).empty());
  CHECK(through_pipe([] { half_done(ProgressMode::kNever); }).empty());
}

TEST_CASE("progress: kAlways prints one plain line a tenth where stderr is no terminal") {
  const std::string text = through_pipe([] {
    Progress progress(ProgressMode::kAlways, "loading", "tokens");
    progress.update(0, 0);
    for (uint64_t i = 0; i <= 1000; ++i) progress.update(i, 1000);
    progress.update(1000, 1000);
  });
  CHECK(std::count(text.begin(), text.end(), '\n') == 10);
  CHECK(text.find("loading  10 %  100 tokens / 1000 tokens") == 0);
  CHECK(text.find("\nloading  100 %  1000 tokens / 1000 tokens") != std::string::npos);
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("progress: a terminal gets one line that is erased") {
  const auto text = through_terminal("xterm", 40, [] { half_done(ProgressMode::kAlways); });
  if (!text) {
    MESSAGE("skipped: no pseudo-terminals here");
    return;
  }
  CHECK(*text == "\rloading  50 %  50 tokens / 100 tokens\x1b[K\r\x1b[K");
  CHECK(through_terminal("xterm", 1, [] { half_done(ProgressMode::kAlways); }) ==
        "\r\x1b[K\r\x1b[K");
  CHECK(through_terminal("xterm", 10, [] { half_done(ProgressMode::kAlways); }) ==
        "\rloading\x1b[K\r\x1b[K");
  CHECK(through_terminal("xterm", 0, [] {
          half_done(ProgressMode::kAlways);
        })->starts_with("\rloading  50 %  50 tokens / 100 tokens  "));  // as if it had 80
  CHECK(through_terminal("xterm", 40, [] { half_done(ProgressMode::kNever); }) == "");
}

TEST_CASE("progress: a terminal sees nothing during the first second, then at most ten a second") {
  const auto quick = through_terminal("xterm", 40, [] { half_done(ProgressMode::kAuto); });
  if (!quick) {
    MESSAGE("skipped: no pseudo-terminals here");
    return;
  }
  CHECK(*quick == "");
  const auto slow = through_terminal("xterm", 40, [] {
    Progress progress(ProgressMode::kAuto, "loading", "tokens");
    usleep(1020000);
    for (uint64_t i = 0; i < 1000; ++i) progress.update(i, 1000);
  });
  REQUIRE(slow);
  CHECK(slow->starts_with("\rloading  0 %"));
  CHECK(std::count(slow->begin(), slow->end(), '\r') <= 4);
}

TEST_CASE("progress: control codes never reach a dumb or nameless terminal") {
  for (const char* term : {"dumb", "", static_cast<const char*>(nullptr)}) {
    const auto text = through_terminal(term, 80, [=] {
      half_done(ProgressMode::kAlways);
      Progress progress(ProgressMode::kAuto, "quiet", "tokens");
      if (term != nullptr && *term != '\0') usleep(1010000);  // once is enough
      progress.update(1, 2);
    });
    if (!text) {
      MESSAGE("skipped: no pseudo-terminals here");
      return;
    }
    CHECK(text->starts_with("loading  50 %  50 tokens / 100 tokens"));
    CHECK(text->find('\x1b') == std::string::npos);
    CHECK(text->find("quiet") == std::string::npos);
  }
}
