// libFuzzer entry: any words, with a NUL after each, as the command line. It ends in options, in a
// text on stdout, or in a usage error; no file is opened for that: the linker puts a trap where
// winnow's own code calls open() (--wrap).
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/cli/options.h"
#include "tests/fuzz/memory_file.h"

namespace {

using namespace winnow;

void try_line(const std::vector<const char*>& argv) {
  std::ostringstream out;
  std::streambuf* const old = std::cout.rdbuf(out.rdbuf());
  try {
    const auto command = parse_command_line(static_cast<int>(argv.size()), argv.data());
    fuzz::require(command.has_value() == out.str().empty());
  } catch (const Error& error) {
    fuzz::require(error.code() == ExitCode::kUsage && out.str().empty());
    fuzz::require(*error.what() != '\0');
  }
  std::cout.rdbuf(old);
}

}  // namespace

extern "C" int __wrap_open(const char* /*path*/, int /*flags*/, ...) {
  __builtin_trap();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);  // ends with a NUL
  std::vector<const char*> argv = {"winnow"};
  for (size_t at = 0; at < bytes.size(); at = bytes.find('\0', at) + 1) {
    argv.push_back(bytes.data() + at);
    if (bytes.find('\0', at) == std::string::npos) break;
  }
  try_line(argv);
  argv.insert(argv.begin() + 1, {"generate", "-m", "d"});
  try_line(argv);
  return 0;
}
