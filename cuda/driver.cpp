#include "cuda/driver.h"

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <fstream>

#include "cuda/check.h"
#include "src/base/error.h"

namespace winnow::cuda {
namespace {

constexpr int kOldestMajor = 8;          // compute capability: bfloat16 and asynchronous copies
constexpr int kDriverInterface = 12000;  // the CUDA version whose signatures <cuda.h> is used with

/// "13.0" from 13000.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// Why the runtime sees no device, from the least to the most that is there.
std::string why_no_device(cudaError_t status) {
  int driver = 0;
  int runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no NVIDIA driver is installed";
  if (status == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver is too old: it supports CUDA " + version_text(driver) +
           ", this program needs CUDA " + version_text(runtime);
  }
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const bool none = status == cudaSuccess || status == cudaErrorNoDevice;
  if (none && visible != nullptr) {
    return "no GPU is visible: CUDA_VISIBLE_DEVICES is " + quoted(visible);
  }
  if (none) return "the NVIDIA driver finds no GPU";
  return std::string("the GPU cannot be used: ") + cudaGetErrorString(status);
}

/// Empty where `device` can run this program.
std::string why_unsuitable(int device) {
  cudaDeviceProp properties{};
  const cudaError_t status = cudaGetDeviceProperties(&properties, device);
  if (status != cudaSuccess) return why_no_device(status);
  if (properties.major >= kOldestMajor) return "";
  return std::string(properties.name) + " is too old: its compute capability is " +
         std::to_string(properties.major) + "." + std::to_string(properties.minor) +
         ", this program needs " + std::to_string(kOldestMajor) + ".0";
}

template <class Function>
void load(Function& function, const char* name) {
  function = reinterpret_cast<Function>(driver_function(name));
}

}  // namespace

GpuChoice find_gpu() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  (void)cudaGetLastError();
  if (status != cudaSuccess || count == 0) return {.device = -1, .why_not = why_no_device(status)};

  std::string first_reason;
  for (int device = 0; device < count; ++device) {
    const std::string why_not = why_unsuitable(device);
    if (why_not.empty()) return {.device = device, .why_not = ""};
    if (device == 0) first_reason = why_not;
  }
  return {.device = -1, .why_not = first_reason};
}

std::string driver_version() {
  int cuda = 0;
  check_cuda(cudaDriverGetVersion(&cuda), "ask for the driver's version");
  const std::string newest = "CUDA " + version_text(cuda);
  std::ifstream file("/sys/module/nvidia/version");
  std::string own;
  return std::getline(file, own) && !own.empty() ? own + ", " + newest : newest;
}

void DriverApi::check(CUresult result, const std::string& operation) const {
  if (result == CUDA_SUCCESS) return;
  const char* text = nullptr;
  if (get_error_string(result, &text) != CUDA_SUCCESS || text == nullptr) text = "unknown error";
  const bool memory = result == CUDA_ERROR_OUT_OF_MEMORY;
  fail(memory ? ExitCode::kMemory : ExitCode::kDevice, "GPU: ", operation, ": ", text, " (",
       static_cast<int>(result), ")");
}

void* driver_function(const char* name) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion(name, &address, kDriverInterface, cudaEnableDefault, &found);
  check_cuda(status, std::string("look up ") + name);
  if (found != cudaDriverEntryPointSuccess || address == nullptr) {
    fail(ExitCode::kDevice, "GPU: the NVIDIA driver has no function ", name);
  }
  return address;
}

DriverApi load_driver_api() {
  DriverApi api;
  load(api.get_error_string, "cuGetErrorString");
  load(api.mem_get_allocation_granularity, "cuMemGetAllocationGranularity");
  load(api.mem_address_reserve, "cuMemAddressReserve");
  load(api.mem_address_free, "cuMemAddressFree");
  load(api.mem_create, "cuMemCreate");
  load(api.mem_release, "cuMemRelease");
  load(api.mem_map, "cuMemMap");
  load(api.mem_unmap, "cuMemUnmap");
  load(api.mem_set_access, "cuMemSetAccess");
  return api;
}

}  // namespace winnow::cuda
