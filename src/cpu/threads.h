// The threads of all parallel loops.
#pragma once

#include <cstdint>

namespace winnow::cpu {

/// Loops of fewer multiplications are left to one thread: it takes some 0.1 ms for them, while a
/// second thread is there after microseconds on an idle machine and milliseconds on a busy one.
constexpr int64_t kParallelWork = 1 << 20;

/// Starts `n` threads (0: one for each core), so that their stacks count as used memory from now on
/// and no loop has to wait for them. Fails with kMemory where the system has no room for them.
void start_threads(int n);

}  // namespace winnow::cpu
