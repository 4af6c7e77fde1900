#include "tests/support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <fstream>

extern char** environ;

namespace winnow::test {

std::string binary_path() {
  const char* const path = std::getenv("WINNOW_BINARY");
  return std::filesystem::absolute(path != nullptr ? path : "build/winnow").string();
}

Process::Process(ProcessSpec spec) : spec_(std::move(spec)) {
  if (!spec_.program.empty()) binary_ = spec_.program;
  signal(SIGPIPE, SIG_IGN);  // a process need not read its input
  start();
}

Process::~Process() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Process::type(std::string_view keys) const {
  REQUIRE(::write(controller_.get(), keys.data(), keys.size()) ==
          static_cast<ssize_t>(keys.size()));
}

int Process::unread(size_t stream) const {
  int n = 0;
  ioctl(ours_[stream].get(), FIONREAD, &n);
  return n;
}

char Process::state() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');  // "PID (name) S ..."
  return name_end == std::string::npos ? '?' : line.at(name_end + 2);
}

Finished Process::wait(double seconds) {
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

bool Process::wait_for_output(std::string_view text) {
  return wait_until([&] { return result_.out.find(text) != std::string::npos; });
}

bool Process::wait_for_error(std::string_view text) {
  return wait_until([&] { return result_.err.find(text) != std::string::npos; });
}

bool Process::wait_for_terminal(std::string_view text, size_t from) {
  return wait_until([&] { return result_.terminal.find(text, from) != std::string::npos; });
}

void Process::open_terminal() {
  controller_ = Fd(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(grantpt(controller_.get()) == 0);
  REQUIRE(unlockpt(controller_.get()) == 0);
  terminal_name_ = ptsname(controller_.get());
}

/// The process's end of its stream `i`; nothing where it has none.
Fd Process::open_stream(size_t i) {
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
Words Process::environment_words() const {
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

void Process::start() {
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
void Process::become(const std::vector<const char*>& argv, const std::vector<const char*>& env,
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
bool Process::pump(int wait_ms) {
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

void Process::feed() {
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

bool Process::drain(Fd& from, std::string& into) {
  std::array<char, 1 << 16> block;
  const ssize_t n = ::read(from.get(), block.data(), block.size());
  if (n > 0) into.append(block.data(), static_cast<size_t>(n));
  if (n == 0) from.reset();
  return n > 0;
}

void Process::reap() {
  int status = 0;
  if (pid_ <= 0 || waitpid(pid_, &status, WNOHANG) != pid_) return;
  result_.code = WIFEXITED(status) ? WEXITSTATUS(status) : kKilled + WTERMSIG(status);
  pid_ = 0;
}

/// Keeps the last VmHWM, the most memory that the process ever held.
void Process::look_at_memory() {
  if (pid_ <= 0) return;
  std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
  std::string word;
  uint64_t kilobytes = 0;
  while (file >> word) {
    if (word == "VmHWM:" && file >> kilobytes) result_.peak_bytes = kilobytes * 1024;
  }
}

Finished run(ProcessSpec spec) {
  return Process(std::move(spec)).wait();
}

Finished run(Words arguments) {
  return run(ProcessSpec{.arguments = std::move(arguments)});
}

}  // namespace winnow::test
