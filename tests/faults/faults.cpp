#include "tests/faults/faults.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace winnow::test {
namespace {

struct Kind {
  const char* name;
  int code;  // where FAULT names none
};

constexpr std::array kKinds = {
    Kind{"new", 1},       Kind{"malloc", 1},      Kind{"pages", ENOMEM},
    Kind{"open", EMFILE}, Kind{"read", EIO},      Kind{"end", 1},
    Kind{"short", 1},     Kind{"signal", EINTR},  Kind{"write", ENOSPC},
    Kind{"sync", EIO},    Kind{"rename", EACCES}, Kind{"cuda", 2},  // cudaErrorMemoryAllocation
    Kind{"launch", 9},                                              // cudaErrorInvalidConfiguration
};

static_assert(kKinds.size() == static_cast<size_t>(Call::kLaunch) + 1);

/// What main() set up. Nothing is counted before it begins and after it returns.
struct State {
  std::atomic<bool> armed{false};
  std::array<std::atomic<int64_t>, kKinds.size()> calls{};
  size_t kind = kKinds.size();  // none
  int64_t first = 0;
  bool all_after = false;
  int code = 0;
};

State& state() noexcept {
  static constinit State the_state;
  return the_state;
}

void read_fault(const char* text) {
  State& s = state();
  const size_t name = std::strcspn(text, ":");
  for (size_t i = 0; i < kKinds.size(); ++i) {
    if (std::strlen(kKinds[i].name) == name && std::strncmp(kKinds[i].name, text, name) == 0) {
      s.kind = i;
    }
  }
  if (s.kind == kKinds.size() || text[name] != ':') {
    std::fprintf(stderr, "FAULT=%s: no such kind\n", text);
    std::_Exit(99);
  }
  char* end = nullptr;
  s.first = std::strtoll(text + name + 1, &end, 10);
  s.all_after = *end == '+';
  if (s.all_after) ++end;
  s.code = *end == '=' ? std::atoi(end + 1) : kKinds[s.kind].code;
}

void write_counts(const char* path) {
  std::FILE* const file = std::fopen(path, "w");
  if (file == nullptr) return;
  for (size_t i = 0; i < kKinds.size(); ++i) {
    std::fprintf(file, "%s %lld\n", kKinds[i].name, static_cast<long long>(state().calls[i]));
  }
  std::fclose(file);
}

}  // namespace

int fault_of(Call call) noexcept {
  State& s = state();
  if (!s.armed.load(std::memory_order_relaxed)) return 0;
  const auto kind = static_cast<size_t>(call);
  const int64_t n = 1 + s.calls[kind].fetch_add(1, std::memory_order_relaxed);
  if (kind != s.kind) return 0;
  return n == s.first || (s.all_after && n > s.first) ? s.code : 0;
}

}  // namespace winnow::test

// The linker gives main() this name (--wrap), and the program's own the other.
extern "C" int __real_main(int argc, char** argv);
extern "C" int __wrap_main(int argc, char** argv) {
  using namespace winnow::test;
  if (const char* const fault = std::getenv("FAULT"); fault != nullptr) read_fault(fault);
  state().armed = true;
  const int code = __real_main(argc, argv);
  state().armed = false;
  if (const char* const path = std::getenv("FAULT_COUNTS"); path != nullptr) write_counts(path);
  return code;
}
