// What launches are sized for.
#pragma once

namespace winnow::cuda {

struct Gpu {
  int multiprocessors = 0;
  int capability = 0;    // 10 * major + minor
  int shared_bytes = 0;  // shared memory of a multiprocessor

  /// Whether wgmma, TMA and register reallocation are there: the kernels of *_sm90.cu.
  constexpr bool is_hopper() const { return capability / 10 == 9; }
};

/// The GPU that is current in this thread. Fails with kDevice.
Gpu current_gpu();

}  // namespace winnow::cuda
