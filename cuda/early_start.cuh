// Kernels that begin while the one before them still ends (programmatic dependent launch).
//
//   without    | kernel A ........ tail |  gap  | kernel B: ramp-up ........ |
//   with       | kernel A ........ tail |
//                          | kernel B: fetch weights | wait | ........ |
//
// What a kernel may do before wait_for_previous(): read what no kernel writes (weights, tables).
// Every kernel that is launched by launch_early() calls wait_for_previous() in every thread before
// it reads or writes anything else; what it looks at earlier as a guess, it reads again afterwards.
// Then its end means the end of all kernels before it, and a chain of such kernels is as safe as a
// chain of plain ones. On GPUs before Hopper, both calls do nothing and the launch is a plain one.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "cuda/check.h"
#include "cuda/kernels.h"

namespace winnow::cuda {

/// The next kernel may be brought onto the multiprocessors from now on.
__device__ inline void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// Returns when all kernels before this one are done and what they wrote can be read.
__device__ inline void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

struct Launch {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // dynamic shared memory
  Stream stream = nullptr;
};

/// Whether the current GPU can begin a kernel early.
inline bool begins_early() {
  int device = 0;
  int major = 0;
  check_cuda(cudaGetDevice(&device), "ask for the GPU");
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
             "ask for the GPU's properties");
  return major >= 9;
}

/// Fails with kDevice, naming `what`. Kernels share a multiprocessor only where they split its
/// memory between shared memory and cache alike: all of these ask for as much shared memory as
/// there is.
template <class... Parameters, class... Arguments>
void launch_early(const Launch& launch, const char* what, void (*kernel)(Parameters...),
                  Arguments&&... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributePreferredSharedMemoryCarveout;
  attributes[0].val.sharedMemCarveout = cudaSharedmemCarveoutMaxShared;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = launch.grid;
  config.blockDim = launch.block;
  config.dynamicSmemBytes = launch.shared_bytes;
  config.stream = launch.stream;
  config.attrs = attributes;
  config.numAttrs = begins_early() ? 2 : 1;
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), what);
}

}  // namespace winnow::cuda
