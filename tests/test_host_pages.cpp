// What the system sees of an arena on host pages: memory that comes and goes, faults, limits.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include "src/arena.h"
#include "src/base/error.h"

using namespace winnow;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kPage = 2 * kMiB;

/// The code of the Error that `body` throws, kOk where it throws none; its message in `message`.
ExitCode code_of(const std::function<void()>& body, std::string* message = nullptr) {
  try {
    body();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  return ExitCode::kOk;
}

/// Resident memory of this process, in bytes.
uint64_t resident_bytes() {
  uint64_t total_pages = 0;
  uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

/// How a child process that runs `body` ends: its exit status, or 1000 + signal.
[[maybe_unused]] int status_of_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // doctest's handler would report the parent's test
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace

TEST_CASE("host pages: memory is really returned by rewind and give_back") {
  Arena arena(make_host_pages(), Placement::kPacked);
  Region& region = arena.add_region("r", 256 * kMiB);
  const uint64_t noise = 8 * kMiB;
  const uint64_t before = resident_bytes();
  void* below = region.allocate("below", 64 * kMiB);
  const Region::Mark mark = region.mark();
  void* above = region.allocate("above", 64 * kMiB);
  CHECK(resident_bytes() < before + noise);  // committed, not touched
  std::memset(below, 1, 64 * kMiB);
  std::memset(above, 1, 64 * kMiB);
  CHECK(resident_bytes() > before + 128 * kMiB - noise);
  region.give_back(below);
  CHECK(resident_bytes() < before + 64 * kMiB + noise);
  region.rewind(mark);
  CHECK(resident_bytes() < before + noise);
  CHECK(arena.high_water() == 128 * kMiB);
}

TEST_CASE("host pages: a stale pointer faults instead of reading what is gone") {
#ifndef __SANITIZE_ADDRESS__  // which turns the signal into an exit of its own
  Arena arena(make_host_pages(), Placement::kPacked);
  Region& region = arena.add_region("r", 2 * kPage);
  auto* data = static_cast<volatile uint8_t*>(region.allocate("x", kPage));
  data[0] = 1;
  region.give_back(const_cast<uint8_t*>(data));
  CHECK(status_of_child([&] { return data[0]; }) == 1000 + SIGSEGV);
#endif
}

TEST_CASE("host pages: offsets beyond 2^31 elements") {
  Arena arena(make_host_pages(), Placement::kPacked);
  Region& region = arena.add_region("kv", uint64_t{16} << 30);
  const int64_t n = (int64_t{1} << 31) + 12345;
  float* values = region.allocate_array<float>("big", n);  // only pages that are written are real
  for (int64_t i = 0; i < 1000; ++i) {
    values[i] = static_cast<float>(i);
    values[n - 1 - i] = static_cast<float>(-i);
  }
  bool intact = true;
  for (int64_t i = 0; i < 1000; ++i) {
    intact =
        intact && values[i] == static_cast<float>(i) && values[n - 1 - i] == static_cast<float>(-i);
  }
  CHECK(intact);
  CHECK(region.used() == static_cast<uint64_t>(n) * 4);
  region.give_back(values);
  CHECK(region.committed() == 0);
}

TEST_CASE("host pages: more address space than there is fails with kMemory") {
  Arena arena(make_host_pages(), Placement::kPacked);
  for (const uint64_t bytes : {uint64_t{1} << 62, UINT64_MAX - kPage, UINT64_MAX}) {
    std::string message;
    CHECK(code_of([&] { arena.add_region("huge", bytes); }, &message) == ExitCode::kMemory);
    CHECK(message.find("'huge'") != std::string::npos);
  }
  CHECK(arena.report().find("huge") == std::string::npos);
}

#ifndef __SANITIZE_ADDRESS__  // which needs terabytes of address space itself
TEST_CASE("host pages: limits of the system end in kMemory, not in a crash") {
  // What a child gets that allocates 1 GiB where the limit leaves it 256 MiB. `field`: where
  // /proc/self/statm counts what the limit is about.
  const auto code_under_limit = [](auto limited, int field) {
    return status_of_child([=] {
      std::ifstream statm("/proc/self/statm");
      uint64_t pages = 0;
      for (int i = 0; i <= field; ++i) statm >> pages;
      const rlim_t bytes = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + 256 * kMiB;
      const rlimit limit{bytes, bytes};
      if (setrlimit(limited, &limit) != 0) return 99;
      return static_cast<int>(code_of([&] {
        Arena arena(make_host_pages(), Placement::kPacked);
        arena.add_region("r", 2048 * kMiB).allocate("x", 1024 * kMiB);
      }));
    });
  };
  CHECK(code_under_limit(RLIMIT_AS, 0) == 4);    // all mappings: fails to reserve
  CHECK(code_under_limit(RLIMIT_DATA, 5) == 4);  // writable mappings: reserves, fails to commit
}
#endif
