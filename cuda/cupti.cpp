// Where the toolkit comes without CUPTI's headers this file is empty: cupti_profiler.cpp says so.
#if __has_include(<cupti.h>)

#include "cuda/cupti.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

namespace winnow::cuda {
namespace {

template <class Function>
bool load(void* library, Function& function, const char* name, std::string& why_not) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) why_not = std::string("CUPTI has no ") + name;
  return function != nullptr;
}

}  // namespace

std::string CuptiApi::describe(CUptiResult result) const {
  const char* text = nullptr;
  const bool known = result_string(result, &text) == CUPTI_SUCCESS && text != nullptr;
  return std::string("CUPTI: ") + (known ? text : "unknown error");
}

/// Records are laid out as the headers say only in a library of the same CUDA.
bool load_cupti(CuptiApi& api, std::string& why_not) {
  const std::string file = "libcupti.so." + std::to_string(CUDART_VERSION / 1000);
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const error = dlerror();
    why_not = error != nullptr ? error : file + " cannot be loaded";
    return false;
  }
  return load(library, api.register_callbacks, "cuptiActivityRegisterCallbacks", why_not) &&
         load(library, api.enable, "cuptiActivityEnable", why_not) &&
         load(library, api.disable, "cuptiActivityDisable", why_not) &&
         load(library, api.flush_all, "cuptiActivityFlushAll", why_not) &&
         load(library, api.next_record, "cuptiActivityGetNextRecord", why_not) &&
         load(library, api.push_id, "cuptiActivityPushExternalCorrelationId", why_not) &&
         load(library, api.pop_id, "cuptiActivityPopExternalCorrelationId", why_not) &&
         load(library, api.timestamp, "cuptiGetTimestamp", why_not) &&
         load(library, api.result_string, "cuptiGetResultString", why_not);
}

}  // namespace winnow::cuda

#endif
