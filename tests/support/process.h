// The binary as its users meet it: a process with arguments, an environment, three streams, limits,
// and signals at given moments.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

namespace winnow::test {

using Words = std::vector<std::string>;

/// What a stream of the process is.
enum class Stream {
  kPipe,      // to or from this process
  kFile,      // Streams::path
  kTerminal,  // the process's controlling terminal, one for all of its streams that are kTerminal
  kClosed,
  kBroken,  // a pipe that nobody reads
};

struct StreamSpec {
  Stream kind = Stream::kPipe;
  std::string path = {};
};

struct ProcessSpec {
  Words arguments;
  std::string input = {};  // what stdin gives, where it is a pipe; then it ends
  bool keep_input_open = false;
  int pipe_bytes = 0;  // that the pipe of stdout holds; 0: as many as the system likes
  std::array<StreamSpec, 3> streams = {};
  std::map<std::string, std::optional<std::string>> environment = {};  // nothing: unset
  std::map<int, rlim_t> limits = {};                                   // RLIMIT_...
  unsigned short columns = 80;                                         // of the terminal
  std::filesystem::path directory = {};                                // empty: this one
  std::string program = {};                                            // empty: winnow
};

/// How a process ended.
struct Finished {
  int code = 0;               // exit code, or 1000 + the signal that ended it
  std::string out = {};       // what it wrote to the stdout pipe
  std::string err = {};       // to the stderr pipe
  std::string terminal = {};  // to the terminal, with "\r\n" as "\n"
  uint64_t peak_bytes = 0;    // of memory, as far as it was seen
};

inline constexpr int kKilled = 1000;

/// Of winnow: what the environment's WINNOW_BINARY names, or else of the default build.
std::string binary_path();

/// A file descriptor that is closed with its owner.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) { REQUIRE(fd >= 0); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

class Process {
 public:
  explicit Process(ProcessSpec spec);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  /// Feeds and reads the process until `done` holds; false where it ended or `seconds` passed.
  template <class Done>
  bool wait_until(const Done& done, double seconds = 60) {
    const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
    while (Clock::now() < deadline) {
      if (done()) return true;
      if (pid_ <= 0 && !pump(0)) return done();
      if (pid_ > 0) pump(5);
      reap();
    }
    return false;
  }

  bool wait_for_output(std::string_view text);
  bool wait_for_error(std::string_view text);

  /// Types `keys` at the terminal.
  void type(std::string_view keys) const;
  /// Waits until the terminal shows `text` after its first `from` bytes.
  bool wait_for_terminal(std::string_view text, size_t from = 0);

  void send(int signal) const {
    if (pid_ > 0) ::kill(pid_, signal);
  }

  /// From now on the stdout pipe is not read, or read again.
  void read_output(bool yes) { read_output_ = yes; }
  /// Whether the process has read all of its input.
  bool input_is_read() const { return fed_ == spec_.input.size() && unread(0) == 0; }
  /// Bytes that wait in the pipe of stdin (0) or stdout (1).
  int unread(size_t stream) const;
  /// Whether the process waits in the kernel ('S'), runs ('R'), or is stopped ('T').
  char state() const;
  void end_input() { spec_.keep_input_open = false; }
  bool ended() const { return pid_ <= 0; }
  const Finished& so_far() const { return result_; }

  /// How it ended; a process that takes longer than `seconds` is killed, and the test failed.
  Finished wait(double seconds = 60);

 private:
  using Clock = std::chrono::steady_clock;

  void start();
  Fd open_stream(size_t i);
  void open_terminal();
  [[noreturn]] void become(const std::vector<const char*>& argv,
                           const std::vector<const char*>& env,
                           const std::array<Fd, 3>& theirs) const;
  Words environment_words() const;
  bool pump(int wait_ms);
  void feed();
  static bool drain(Fd& from, std::string& into);
  void reap();
  void look_at_memory();

  ProcessSpec spec_;
  std::string binary_ = binary_path();
  std::array<Fd, 3> ours_;  // this end of the pipes
  Fd controller_;           // of the terminal
  std::string terminal_name_;
  bool read_output_ = true;
  size_t fed_ = 0;
  pid_t pid_ = 0;
  Finished result_;
};

/// Starts the process and waits for its end.
Finished run(ProcessSpec spec);

/// Runs `winnow` with `arguments` and nothing on stdin.
Finished run(Words arguments);

}  // namespace winnow::test
