// The way to a GPU for code that knows nothing of CUDA. A program that is built without CUDA has
// the same functions, which say so.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "src/base/dtype.h"
#include "src/device.h"
#include "weights/config.h"

namespace winnow {

struct CudaOptions {
  bool graph = true;  // Device::record makes a CUDA graph; else each run launches step by step
  bool fuse = true;   // a decode step's neighbouring operations are one kernel where that pays
  std::function<void(const std::string& line)> note;  // for what the user may want to know
};

/// Why no GPU can be used, in one line; empty where one can be. Never fails.
std::string why_no_gpu();

/// The GPU, for matrices of `type`, which is its compute_type(). Fails with kDevice.
std::unique_ptr<Device> make_cuda_device(const ModelConfig& config, DType type,
                                         const CudaOptions& options = {});

}  // namespace winnow
