// Closes a pass over one row: *position grows, and every KV head's next row goes behind the last
// one or on to the next row of its ring; a streaming head that is full becomes one.
#include "cuda/early_start.cuh"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void advance_kernel(const StepState state) {
  let_next_begin();
  wait_for_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (*state.stopped != 0) return;
  if (i == 0) *state.position += 1;
  if (i >= state.n_counts) return;
  const int32_t ring_rows = state.ring_rows[i];
  const int32_t next = state.slot[i] + 1;
  const bool full = state.ring_at != nullptr && next == state.ring_at[i];
  if (ring_rows == 0 && full) {
    state.ring_rows[i] = state.ring_later[i];
    state.slot[i] = next - state.ring_later[i];
  } else if (ring_rows == 0) {
    state.slot[i] = next;
    state.visible[i] += 1;
  } else {
    const int32_t end = state.visible[i];
    state.slot[i] = next == end ? end - ring_rows : next;
  }
}

}  // namespace

void advance(const StepState& state, Stream stream) {
  const Launch launch = {
      .grid = blocks_for(state.n_counts, kThreads), .block = kThreads, .stream = stream};
  launch_early(launch, "advance", advance_kernel, state);
}

}  // namespace winnow::cuda
