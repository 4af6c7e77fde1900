// The reference device: every step in plain C++, in fp32, on all cores.
#pragma once

#include <memory>

#include "src/device.h"
#include "weights/config.h"

namespace winnow {

/// `threads` 0: one for each core. Fails with kMemory where they cannot be started.
std::unique_ptr<Device> make_cpu_device(const ModelConfig& config, int threads);

}  // namespace winnow
