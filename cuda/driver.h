// The GPU that a run uses, and the functions of the CUDA driver.
//
// The driver comes with the machine and not with this program, so its functions are asked for by
// name when they are needed first. The program links and starts where there is no driver at all.
#pragma once

#include <cuda.h>

#include <string>

namespace winnow::cuda {

/// What find_gpu found: a device number, or the reason why there is none.
struct GpuChoice {
  int device = -1;
  std::string why_not;  // one line; empty where `device` can be used
};

/// Looks for a GPU that can run this program: the first that is visible, of compute capability 8.0
/// or higher. Never fails.
GpuChoice find_gpu();

/// A function of the driver, with the signature that <cuda.h> gives it. Fails with kDevice, naming
/// it, where the driver does not have it.
void* driver_function(const char* name);

/// "580.159.03, CUDA 13.0": the driver's own version as far as the system tells, and the newest
/// CUDA that it runs.
std::string driver_version();

/// The driver's functions for virtual memory, see the CUDA driver API.
struct DriverApi {
  decltype(&::cuGetErrorString) get_error_string = nullptr;
  decltype(&::cuMemGetAllocationGranularity) mem_get_allocation_granularity = nullptr;
  decltype(&::cuMemAddressReserve) mem_address_reserve = nullptr;
  decltype(&::cuMemAddressFree) mem_address_free = nullptr;
  decltype(&::cuMemCreate) mem_create = nullptr;
  decltype(&::cuMemRelease) mem_release = nullptr;
  decltype(&::cuMemMap) mem_map = nullptr;
  decltype(&::cuMemUnmap) mem_unmap = nullptr;
  decltype(&::cuMemSetAccess) mem_set_access = nullptr;

  /// Throws where a call of the driver failed: kMemory where memory ran out, else kDevice.
  void check(CUresult result, const std::string& operation) const;
};

/// Fails with kDevice, naming the function, where the driver does not have one of them.
DriverApi load_driver_api();

}  // namespace winnow::cuda
