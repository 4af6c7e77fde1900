#include "src/host_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace winnow {
namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

/// The number behind `key` in a file of lines "key: 123 kB", in bytes; kUnknown where there is
/// none.
uint64_t kilobytes_line(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (word != key) continue;
    uint64_t kilobytes = 0;
    if (file >> kilobytes) return kilobytes * 1024;
    break;
  }
  return kUnknown;
}

/// The one number in a file; kUnknown where it holds none ("max").
uint64_t number_in(const char* path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnknown;
}

uint64_t left_of(uint64_t limit, uint64_t used) {
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  return limit > used ? limit - used : 0;
}

uint64_t address_space_left() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnknown;
  return left_of(limit.rlim_cur, kilobytes_line("/proc/self/status", "VmSize:"));
}

uint64_t control_group_left() {
  return left_of(number_in("/sys/fs/cgroup/memory.max"),
                 number_in("/sys/fs/cgroup/memory.current"));
}

}  // namespace

uint64_t available_host_memory() {
  return std::min({kilobytes_line("/proc/meminfo", "MemAvailable:"), address_space_left(),
                   control_group_left()});
}

uint64_t peak_resident_bytes() {
  const uint64_t peak = kilobytes_line("/proc/self/status", "VmHWM:");
  return peak == kUnknown ? 0 : peak;
}

}  // namespace winnow
