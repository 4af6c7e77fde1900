// What the CPU's memory and cores reach at most.
#pragma once

#include <cstdint>

#include "src/device.h"

namespace winnow::cpu {

/// By all threads, in up to an eighth of `free_bytes`. The product's is that of blocks whose
/// operands lie in the first-level cache. Fails with kMemory.
Ceilings measure_ceilings(uint64_t free_bytes);

}  // namespace winnow::cpu
