// Hopper's own instructions (PTX ISA, sm_90a), one short function each: what memory barriers, the
// bulk copy engine (TMA) and warps with different tasks need. Those of the tensor cores are in
// wgmma.cuh.
//
// A tile's way through a ring of slots in shared memory:
//
//   copying warp                                    warpgroups that multiply
//   free[slot].wait    <------ arrive, when read ----  ...
//   full[slot].expect                                  full[slot].wait
//   load_box(slot)     ------- bytes have come ----->  multiply
//
// A barrier counts arrivals, and bytes that copies have still to bring. When both are complete, its
// phase ends: a phase has parity 0, the next 1, then 0 again, and wait(parity) returns once the
// phase of that parity is over. Before the first phase, "the one of parity 1" is over.
//
// Shared memory is written and read by two parties that do not see each other's order by
// themselves: threads (the generic proxy), and TMA with the tensor cores (the async proxy). What a
// thread has stored is seen by the latter after fence_async_proxy() and a barrier.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace winnow::cuda::hopper {

/// A pointer into shared memory as the instructions take it.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// A barrier in shared memory (mbarrier).
struct Barrier {
  uint64_t state;

  /// By one thread, before publish_barriers(): a phase takes so many arrivals.
  __device__ __forceinline__ void init(uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
                 :
                 : "r"(shared_address(this)), "r"(arrivals));
  }
  __device__ __forceinline__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
                 :
                 : "r"(shared_address(this))
                 : "memory");
  }
  /// Arrives; the phase ends only when copies have brought `bytes` too.
  __device__ __forceinline__ void expect(uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :
                 : "r"(shared_address(this)), "r"(bytes)
                 : "memory");
  }
  __device__ __forceinline__ void wait(uint32_t parity) {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
        "@!over bra again;\n"
        "}"
        :
        : "r"(shared_address(this)), "r"(parity)
        : "memory");
  }
};

/// Makes initialised barriers known to TMA; a barrier of all threads follows.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// What this thread stored in shared memory is seen by TMA and tensor cores after a barrier.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- TMA: boxes between global and shared memory, see tensor_map.h ----

/// Brings a tensor map near; without it the first copy waits for it.
__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" : : "l"(&map) : "memory");
}

/// Queues the copy of a box of a matrix, whose first element is in column x of row y. The bytes
/// count for `full`. What lies outside of the matrix comes as zeros.
__device__ __forceinline__ void load_box(void* to, const CUtensorMap& map, Barrier& full, int x,
                                         int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4}], [%2];"
      :
      : "r"(shared_address(to)), "l"(&map), "r"(shared_address(&full)), "r"(x), "r"(y)
      : "memory");
}

/// load_box() of a tensor of three dimensions.
__device__ __forceinline__ void load_box(void* to, const CUtensorMap& map, Barrier& full, int x,
                                         int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5}], [%2];"
      :
      : "r"(shared_address(to)), "l"(&map), "r"(shared_address(&full)), "r"(x), "r"(y), "r"(z)
      : "memory");
}

/// Queues the copy of a box to global memory; what lies outside of the tensor is left out. One
/// thread stores, and waits for what it has stored.
__device__ __forceinline__ void store_box(const CUtensorMap& map, const void* from, int x, int y,
                                          int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];"
      :
      : "l"(&map), "r"(shared_address(from)), "r"(x), "r"(y), "r"(z)
      : "memory");
}
__device__ __forceinline__ void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Until the shared memory of all stores was read and may be written again.
__device__ __forceinline__ void wait_until_stores_have_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

// ---- Warps with different tasks ----

/// A barrier of `threads` threads of the block: those that sync and those that only arrive.
/// Number 0 is __syncthreads().
__device__ __forceinline__ void named_sync(int number, int threads) {
  asm volatile("bar.sync %0, %1;" : : "r"(number), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_arrive(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" : : "r"(number), "r"(threads) : "memory");
}

/// A warpgroup gives registers back, or takes some that others gave back: so many a thread.
template <int kRegisters>
__device__ __forceinline__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" : : "n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" : : "n"(kRegisters));
}

}  // namespace winnow::cuda::hopper
