// factory.h and profiling.h where the program is built without CUDA.
#include "cuda/factory.h"
#include "cuda/profiling.h"
#include "src/base/error.h"

namespace winnow {

std::string why_no_gpu() {
  return "this program was built without CUDA";
}

std::unique_ptr<Device> make_cuda_device(const ModelConfig& /*config*/, DType /*type*/,
                                         const CudaOptions& /*options*/) {
  fail(ExitCode::kDevice, "GPU: ", why_no_gpu());
}

std::shared_ptr<Observer> make_nvtx_ranges() {
  return nullptr;
}

void start_profiler() {}
void stop_profiler() {}

}  // namespace winnow
