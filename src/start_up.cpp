// What must happen before the constructors of any library or file. Compiled for any x86-64.
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace winnow {
namespace {

/// Says so, instead of dying of an unknown instruction, where the CPU lacks what the rest of the
/// binary was compiled for.
void require_avx2() {
#if defined(WINNOW_REQUIRE_AVX2)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return;
  constexpr std::string_view kMessage =
      "winnow: this CPU has no AVX2 and FMA; build with make ARCH=native on it\n";
  const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(written < 0 ? 6 : 1);
#endif
}

/// A thread that waits for its next loop stays awake for some microseconds, then sleeps. OpenMP's
/// own choice, milliseconds, takes the core from whoever could end the waiting as soon as anything
/// else runs on the machine. libgomp reads this once, in its constructor; a user's choice stays.
void wait_briefly() {
  setenv("GOMP_SPINCOUNT", "2000", 0);
}

// The first constructors of the program: libgomp is linked in, and its own comes later.
__attribute__((constructor(101))) void start_up() {
  require_avx2();
  wait_briefly();
}

}  // namespace
}  // namespace winnow
