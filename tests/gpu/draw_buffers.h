// What sample() and advance() need beside the sampler's own numbers, outside of a Sequence.
#pragma once

#include <vector>

#include "cuda/kernels.h"
#include "tests/gpu/buffers.h"

namespace winnow::test {

struct DrawBuffers {
  explicit DrawBuffers(int32_t stop_id = -1, int32_t stopped_before = 0)
      : stopped(raw_bytes(std::vector<int32_t>{stopped_before})),
        stop_ids(raw_bytes(std::vector<int32_t>(size_t(kMaxStopIds), stop_id))),
        drawn_slots(raw_bytes(std::vector<cuda::Drawn>(size_t(Device::kMaxDrawn)))),
        count(raw_bytes(std::vector<int32_t>{0})) {}

  void put_into(StepState& state) const {
    state.stopped = stopped.as<int32_t>();
    state.stop_ids = stop_ids.as<int32_t>();
  }
  cuda::DrawnSlots slots() const { return {drawn_slots.as<cuda::Drawn>(), count.as<int32_t>()}; }

  DeviceBuffer stopped, stop_ids, drawn_slots, count;
};

}  // namespace winnow::test
