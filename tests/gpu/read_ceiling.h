// How fast this GPU reads: what a kernel that only reads is held against.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace winnow::test {

/// Reads every byte once, and keeps nothing.  bytes: a multiple of 16; sink [1], not written
void read_once(const void* from, uint64_t bytes, uint32_t* sink, int multiprocessors,
               cudaStream_t stream);

/// The median over several passes over 4 GiB that lie in no cache, in 10^9 bytes a second.
double read_ceiling_gbps();

}  // namespace winnow::test
