#include "src/cpu/threads.h"

#include <malloc.h>
#include <omp.h>

#include <future>
#include <system_error>
#include <thread>
#include <vector>

#include "src/base/error.h"

namespace winnow::cpu {
namespace {

/// Starts and ends `n` threads. Where OpenMP cannot start one it ends the process, so that these
/// are tried before.
void try_threads(int n) {
  std::vector<std::jthread> trial;  // joined when `end` is gone
  std::promise<void> end;           // gone, it ends their waiting
  const std::shared_future<void> ended = end.get_future().share();
  try {
    for (int i = 0; i < n; ++i) trial.emplace_back([ended] { ended.wait(); });
  } catch (const std::system_error& error) {
    fail(ExitCode::kMemory, "cannot start ", n, " threads: ", error.code().message(),
         "; --threads takes fewer");
  }
  end.set_value();
}

}  // namespace

void start_threads(int n) {
  mallopt(M_ARENA_MAX, 1);  // a heap of its own would take 64 MiB of address space a thread
  omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
  try_threads(omp_get_max_threads() - 1);
#pragma omp parallel
  {}
}

}  // namespace winnow::cpu
