// CUDA calls that fail, one at a time, in a winnowed run of the program: it ends with one line and
// the documented exit code, also while it cleans up. Needs tests/winnow_faulty beside the program.
#include <doctest/doctest.h>

#include "tests/gpu/gpu.h"
#include "tests/support/faulty_runs.h"

namespace winnow::test {
namespace {

// A process takes most of a second to get at a GPU.
constexpr int64_t kRuns = 16;

FaultyRun run_on_gpu(const TinyDir& tiny) {
  return FaultyRun({"generate", "-m", tiny.name(), "--device", "cuda", "-p", text_of(24), "-n", "4",
                    "-q", "--temp", "0", "--kv-policy", "sage", "--kv-budget", "16"},
                   true);
}

}  // namespace

TEST_CASE("cuda faults: any call may find no memory") {
  NEEDS_GPU();
  const TinyDir tiny;
  run_on_gpu(tiny).sweep("cuda", "", kRuns, 4);
}

TEST_CASE("cuda faults: after a kernel went wrong every call fails, those that clean up, too") {
  NEEDS_GPU();
  const TinyDir tiny;
  run_on_gpu(tiny).sweep("cuda", "+=700", kRuns, 5);  // cudaErrorIllegalAddress
}

TEST_CASE("cuda faults: any kernel may fail to launch") {
  NEEDS_GPU();
  const TinyDir tiny;
  run_on_gpu(tiny).sweep("launch", "", kRuns, 5);
}

}  // namespace winnow::test
