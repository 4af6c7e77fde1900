// CUDA calls that fail: of the runtime, which is linked in, and of the driver's functions for
// memory, which the program looks up by name. What only asks or cleans up goes through.
//
// A failed call of the runtime is remembered by cudaGetLastError(), as the runtime itself does.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <string_view>
#include <utility>

#include "tests/faults/faults.h"

using winnow::test::Call;
using winnow::test::fault_of;

namespace {

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

/// What a call has to fail with, or cudaSuccess.
cudaError_t fault(Call call) {
  const auto error = static_cast<cudaError_t>(fault_of(call));
  if (error != cudaSuccess) last_error() = error;
  return error;
}

/// real(arguments...), unless the call has to fail.
template <class... Parameters, class... Arguments>
cudaError_t unless_faulty(cudaError_t (*real)(Parameters...), Arguments... arguments) {
  const cudaError_t error = fault(Call::kCuda);
  return error != cudaSuccess ? error : real(arguments...);
}

template <class... Arguments>
cudaError_t launch_unless_faulty(cudaError_t (*real)(Arguments...), Arguments... arguments) {
  const cudaError_t error = fault(Call::kLaunch);
  return error != cudaSuccess ? error : real(arguments...);
}

/// A null pointer that has the type of one of the driver's functions, which is not linked in.
template <class Function>
struct Typed {
  Function type = nullptr;
};

/// A function of the driver, in front of the real one. The numbers of the errors that are used here
/// (2: out of memory, 700: an illegal address) are the same in the driver and the runtime.
template <int kWhich, class... Arguments>
struct Shim {
  static CUresult (*&real())(Arguments...) {
    static CUresult (*function)(Arguments...) = nullptr;
    return function;
  }
  static CUresult call(Arguments... arguments) {
    if (const int code = fault_of(Call::kCuda); code != 0) return static_cast<CUresult>(code);
    return real()(arguments...);
  }
};

template <int kWhich, class... Arguments>
void put_shim(CUresult (*)(Arguments...), void** function) {
  using Front = Shim<kWhich, Arguments...>;
  Front::real() = reinterpret_cast<CUresult (*)(Arguments...)>(*function);
  *function = reinterpret_cast<void*>(&Front::call);
}

}  // namespace

extern "C" {
cudaError_t __real_cudaMalloc(void** block, size_t bytes);
cudaError_t __wrap_cudaMalloc(void** block, size_t bytes) {
  return unless_faulty(__real_cudaMalloc, block, bytes);
}
cudaError_t __real_cudaHostAlloc(void** block, size_t bytes, unsigned flags);
cudaError_t __wrap_cudaHostAlloc(void** block, size_t bytes, unsigned flags) {
  return unless_faulty(__real_cudaHostAlloc, block, bytes, flags);
}
cudaError_t __real_cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t stream);
cudaError_t __wrap_cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t stream) {
  return unless_faulty(__real_cudaMemcpyAsync, to, from, bytes, kind, stream);
}
cudaError_t __real_cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream);
cudaError_t __wrap_cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  return unless_faulty(__real_cudaMemsetAsync, at, value, bytes, stream);
}
cudaError_t __real_cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t __wrap_cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return unless_faulty(__real_cudaStreamCreateWithFlags, stream, flags);
}
cudaError_t __real_cudaStreamSynchronize(cudaStream_t stream);
cudaError_t __wrap_cudaStreamSynchronize(cudaStream_t stream) {
  return unless_faulty(__real_cudaStreamSynchronize, stream);
}
cudaError_t __real_cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t __wrap_cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return unless_faulty(__real_cudaStreamBeginCapture, stream, mode);
}
cudaError_t __real_cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
// The capture ends in any case: a stream that goes on capturing takes nothing else.
cudaError_t __wrap_cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const cudaError_t ended = __real_cudaStreamEndCapture(stream, graph);
  const cudaError_t error = fault(Call::kCuda);
  return error != cudaSuccess ? error : ended;
}
cudaError_t __real_cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                        unsigned long long flags);
cudaError_t __wrap_cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                        unsigned long long flags) {
  return unless_faulty(__real_cudaGraphInstantiate, exec, graph, flags);
}
cudaError_t __real_cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t __wrap_cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return unless_faulty(__real_cudaGraphLaunch, exec, stream);
}
cudaError_t __real_cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t __wrap_cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return unless_faulty(__real_cudaEventCreateWithFlags, event, flags);
}
cudaError_t __real_cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t __wrap_cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return unless_faulty(__real_cudaEventRecord, event, stream);
}
cudaError_t __real_cudaEventSynchronize(cudaEvent_t event);
cudaError_t __wrap_cudaEventSynchronize(cudaEvent_t event) {
  return unless_faulty(__real_cudaEventSynchronize, event);
}
cudaError_t __real_cudaFuncSetAttribute(const void* function, cudaFuncAttribute what, int value);
cudaError_t __wrap_cudaFuncSetAttribute(const void* function, cudaFuncAttribute what, int value) {
  return unless_faulty(__real_cudaFuncSetAttribute, function, what, value);
}

cudaError_t __real_cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel,
                                       void** arguments);
cudaError_t __wrap_cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel,
                                       void** arguments) {
  return launch_unless_faulty(__real_cudaLaunchKernelExC, config, kernel, arguments);
}
// kernel<<<..>>> is one of the two: the second from CUDA 13 on, the first before.
__attribute__((weak)) cudaError_t __real_cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block,
                                                          void** arguments, size_t shared,
                                                          cudaStream_t stream);
cudaError_t __wrap_cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments,
                                    size_t shared, cudaStream_t stream) {
  return launch_unless_faulty(__real_cudaLaunchKernel, kernel, grid, block, arguments, shared,
                              stream);
}
__attribute__((weak)) cudaError_t __real___cudaLaunchKernel(cudaKernel_t kernel, dim3 grid,
                                                            dim3 block, void** arguments,
                                                            size_t shared, cudaStream_t stream);
cudaError_t __wrap___cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                      size_t shared, cudaStream_t stream) {
  return launch_unless_faulty(__real___cudaLaunchKernel, kernel, grid, block, arguments, shared,
                              stream);
}

cudaError_t __real_cudaGetLastError();
cudaError_t __wrap_cudaGetLastError() {
  const cudaError_t real = __real_cudaGetLastError();
  const cudaError_t injected = std::exchange(last_error(), cudaSuccess);
  return injected != cudaSuccess ? injected : real;
}

cudaError_t __real_cudaGetDriverEntryPointByVersion(const char* name, void** function,
                                                    unsigned version, unsigned long long flags,
                                                    cudaDriverEntryPointQueryResult* found);
cudaError_t __wrap_cudaGetDriverEntryPointByVersion(const char* name, void** function,
                                                    unsigned version, unsigned long long flags,
                                                    cudaDriverEntryPointQueryResult* found) {
  const cudaError_t status =
      unless_faulty(__real_cudaGetDriverEntryPointByVersion, name, function, version, flags, found);
  if (status != cudaSuccess || *function == nullptr) return status;
  const std::string_view which = name;
  if (which == "cuMemAddressReserve")
    put_shim<0>(Typed<decltype(&cuMemAddressReserve)>{}.type, function);
  if (which == "cuMemCreate") put_shim<1>(Typed<decltype(&cuMemCreate)>{}.type, function);
  if (which == "cuMemMap") put_shim<2>(Typed<decltype(&cuMemMap)>{}.type, function);
  if (which == "cuMemSetAccess") put_shim<3>(Typed<decltype(&cuMemSetAccess)>{}.type, function);
  return status;
}
}
