// The binary as its users meet it: a process with arguments, an environment, three streams, limits,
// and signals at given moments.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

extern char** environ;

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

inline std::string binary_path() {
  const char* const path = std::getenv("WINNOW_BINARY");
  return std::filesystem::absolute(path != nullptr ? path : "build/winnow").string();
}

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
  explicit Process(ProcessSpec spec) : spec_(std::move(spec)) {
    if (!spec_.program.empty()) binary_ = spec_.program;
    signal(SIGPIPE, SIG_IGN);  // a process need not read its input
    start();
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

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

  bool wait_for_output(std::string_view text) {
    return wait_until([&] { return result_.out.find(text) != std::string::npos; });
  }
  bool wait_for_error(std::string_view text) {
    return wait_until([&] { return result_.err.find(text) != std::string::npos; });
  }

  /// Types `keys` at the terminal.
  void type(std::string_view keys) const {
    REQUIRE(::write(controller_.get(), keys.data(), keys.size()) ==
            static_cast<ssize_t>(keys.size()));
  }
  /// Waits until the terminal shows `text` after its first `from` bytes.
  bool wait_for_terminal(std::string_view text, size_t from = 0) {
    return wait_until([&] { return result_.terminal.find(text, from) != std::string::npos; });
  }

  void send(int signal) const {
    if (pid_ > 0) ::kill(pid_, signal);
  }

  /// From now on the stdout pipe is not read, or read again.
  void read_output(bool yes) { read_output_ = yes; }
  /// Whether the process has read all of its input.
  bool input_is_read() const { return fed_ == spec_.input.size() && unread(0) == 0; }
  /// Bytes that wait in the pipe of stdin (0) or stdout (1).
  int unread(size_t stream) const {
    int n = 0;
    ioctl(ours_[stream].get(), FIONREAD, &n);
    return n;
  }
  /// Whether the process waits in the kernel ('S'), runs ('R'), or is stopped ('T').
  char state() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string line;
    std::getline(file, line);
    const size_t name_end = line.rfind(')');  // "PID (name) S ..."
    return name_end == std::string::npos ? '?' : line.at(name_end + 2);
  }
  void end_input() { spec_.keep_input_open = false; }
  bool ended() const { return pid_ <= 0; }
  const Finished& so_far() const { return result_; }

  /// How it ended; a process that takes longer than `seconds` is killed, and the test failed.
  Finished wait(double seconds = 60) {
    const bool ended = wait_until([&] { return pid_ <= 0; }, seconds);
    CHECK_MESSAGE(ended, "the process did not end");
    if (!ended) {
      ::kill(pid_, SIGKILL);
      wait_until([&] { return pid_ <= 0; }, 10);
    }
    while (pump(0)) {
    }
    for (size_t at = 0; (at = result_.terminal.find("\r\n", at)) != std::string::npos;) {
      result_.terminal.erase(at, 1);
    }
    return result_;
  }

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

inline void Process::open_terminal() {
  controller_ = Fd(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(grantpt(controller_.get()) == 0);
  REQUIRE(unlockpt(controller_.get()) == 0);
  terminal_name_ = ptsname(controller_.get());
}

/// The process's end of its stream `i`; nothing where it has none.
inline Fd Process::open_stream(size_t i) {
  const StreamSpec& stream = spec_.streams[i];
  if (stream.kind == Stream::kClosed) return {};
  if (stream.kind == Stream::kFile) {
    const int flags = i == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
    return Fd(::open(stream.path.c_str(), flags | O_CLOEXEC, 0666));
  }
  if (stream.kind == Stream::kTerminal) {
    if (!controller_.is_open()) open_terminal();
    Fd terminal(::open(terminal_name_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    winsize size = {};
    size.ws_col = spec_.columns;
    size.ws_row = 24;
    ioctl(terminal.get(), TIOCSWINSZ, &size);
    return terminal;
  }
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  Fd& ours = i == 0 ? write_end : read_end;
  Fd& theirs = i == 0 ? read_end : write_end;
  if (stream.kind == Stream::kPipe) {
    fcntl(ours.get(), F_SETFL, O_NONBLOCK);
    if (i == 1 && spec_.pipe_bytes > 0) fcntl(ours.get(), F_SETPIPE_SZ, spec_.pipe_bytes);
    ours_[i] = std::move(ours);
  }
  return std::move(theirs);
}

/// "NAME=value" of this process's environment, with the changes that are asked for. Two more: no
/// GPU is seen, so that results are the same on every machine, and libgomp's threads that wait
/// leave the core to whatever else runs on it.
inline Words Process::environment_words() const {
  std::map<std::string, std::optional<std::string>> changes = {{"GOMP_SPINCOUNT", "0"},
                                                               {"CUDA_VISIBLE_DEVICES", ""}};
  for (const auto& [name, value] : spec_.environment) changes[name] = value;
  Words words;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string word = *entry;
    if (!changes.contains(word.substr(0, word.find('=')))) words.push_back(word);
  }
  for (const auto& [name, value] : changes) {
    if (value) words.push_back(name + "=" + *value);
  }
  return words;
}

inline void Process::start() {
  Words words = {binary_};
  words.insert(words.end(), spec_.arguments.begin(), spec_.arguments.end());
  const Words environment = environment_words();
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  argv.push_back(nullptr);
  std::vector<const char*> env;
  for (const std::string& word : environment) env.push_back(word.c_str());
  env.push_back(nullptr);

  std::array<Fd, 3> theirs;
  for (size_t i = 0; i < theirs.size(); ++i) theirs[i] = open_stream(i);
  std::array<int, 2> started{};  // a pipe that the new program closes
  REQUIRE(::pipe2(started.data(), O_CLOEXEC) == 0);
  const Fd read_end(started[0]);
  Fd write_end(started[1]);
  pid_ = fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) become(argv, env, theirs);
  write_end.reset();
  char none = 0;
  while (::read(read_end.get(), &none, 1) < 0 && errno == EINTR) {
  }
}

/// In the child. Other threads of the parent are gone and may have held any lock: only system calls
/// from here on.
inline void Process::become(const std::vector<const char*>& argv,
                            const std::vector<const char*>& env,
                            const std::array<Fd, 3>& theirs) const {
  if (!controller_.is_open()) {
    setpgid(0, 0);  // a group that has a parent outside of it can be stopped
  } else {
    setsid();
    ioctl(::open(terminal_name_.c_str(), O_RDWR | O_CLOEXEC), TIOCSCTTY, 0);
  }
  std::array<int, 3> high{};  // out of the way of 0, 1 and 2
  for (size_t i = 0; i < 3; ++i) {
    high[i] = theirs[i].is_open() ? fcntl(theirs[i].get(), F_DUPFD_CLOEXEC, 10) : -1;
  }
  for (int i = 0; i < 3; ++i) {
    if (high[static_cast<size_t>(i)] >= 0) {
      dup2(high[static_cast<size_t>(i)], i);
    } else {
      ::close(i);
    }
  }
  for (const auto& [what, limit] : spec_.limits) {
    const rlimit both = {limit, limit};
    setrlimit(static_cast<__rlimit_resource>(what), &both);
  }
  signal(SIGPIPE, SIG_DFL);
  if (!spec_.directory.empty() && chdir(spec_.directory.c_str()) != 0) _exit(126);
  execve(binary_.c_str(), const_cast<char**>(argv.data()), const_cast<char**>(env.data()));
  _exit(127);
}

/// Moves what can be moved, waiting up to `wait_ms` for it. False where nothing came.
inline bool Process::pump(int wait_ms) {
  feed();
  look_at_memory();
  std::array<pollfd, 3> ready{};
  const std::array<int, 3> wanted = {read_output_ ? ours_[1].get() : -1, ours_[2].get(),
                                     controller_.get()};
  for (size_t i = 0; i < ready.size(); ++i) ready[i] = {wanted[i], POLLIN, 0};
  const int n = poll(ready.data(), ready.size(), wait_ms);
  // Where all that is left has hung up, poll returns at once, and there is still a process to wait
  // for.
  bool moved = false;
  if (ready[0].revents != 0) moved |= drain(ours_[1], result_.out);
  if (ready[1].revents != 0) moved |= drain(ours_[2], result_.err);
  if (ready[2].revents != 0) moved |= drain(controller_, result_.terminal);
  if (n > 0 && !moved && wait_ms > 0) usleep(static_cast<useconds_t>(wait_ms) * 1000);
  return moved;
}

inline void Process::feed() {
  Fd& pipe = ours_[0];
  if (!pipe.is_open()) return;
  while (fed_ < spec_.input.size()) {
    const ssize_t n = ::write(pipe.get(), spec_.input.data() + fed_, spec_.input.size() - fed_);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) break;  // it reads no more
    fed_ += static_cast<size_t>(n);
  }
  if (!spec_.keep_input_open) pipe.reset();
}

inline bool Process::drain(Fd& from, std::string& into) {
  std::array<char, 1 << 16> block;
  const ssize_t n = ::read(from.get(), block.data(), block.size());
  if (n > 0) into.append(block.data(), static_cast<size_t>(n));
  if (n == 0) from.reset();
  return n > 0;
}

inline void Process::reap() {
  int status = 0;
  if (pid_ <= 0 || waitpid(pid_, &status, WNOHANG) != pid_) return;
  result_.code = WIFEXITED(status) ? WEXITSTATUS(status) : kKilled + WTERMSIG(status);
  pid_ = 0;
}

/// Keeps the last VmHWM, the most memory that the process ever held.
inline void Process::look_at_memory() {
  if (pid_ <= 0) return;
  std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
  std::string word;
  uint64_t kilobytes = 0;
  while (file >> word) {
    if (word == "VmHWM:" && file >> kilobytes) result_.peak_bytes = kilobytes * 1024;
  }
}

inline Finished run(ProcessSpec spec) {
  return Process(std::move(spec)).wait();
}

/// Runs `winnow` with `arguments` and nothing on stdin.
inline Finished run(Words arguments) {
  return run(ProcessSpec{.arguments = std::move(arguments)});
}

}  // namespace winnow::test
