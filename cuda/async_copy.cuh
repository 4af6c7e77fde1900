// Copies from global to shared memory that run on while their thread goes on (cp.async).
//
//   start   copy_async  copy_async | close_copies | copy_async | close_copies | ...
//                 group 0                              group 1
//
// Groups arrive in the order in which they were closed. A thread waits for its own groups and sees
// its own copies; what other threads copied it sees only after a __syncthreads() of all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace winnow::cuda {

/// 16 bytes, both ends on multiples of 16, past the first-level cache. Where `inside` is false,
/// zeros are written and `from` is not read.
__device__ inline void copy_async16(void* to_shared, const void* from_global, bool inside) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(to_shared));
  const int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(to), "l"(from_global),
               "r"(bytes)
               : "memory");
}

/// 4 bytes, both ends on multiples of 4; zeros where `inside` is false.
__device__ inline void copy_async4(void* to_shared, const void* from_global, bool inside) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(to_shared));
  const int bytes = inside ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from_global),
               "r"(bytes)
               : "memory");
}

/// Makes a group of the copies since the last one; of none, if there were none.
__device__ inline void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Returns when all groups but the last kOpen have arrived.
template <int kOpen>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory");
}

}  // namespace winnow::cuda
