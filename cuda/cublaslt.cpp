#include "cuda/cublaslt.h"

#include <cublas_api.h>
#include <dlfcn.h>

#include <string>

#include "src/base/error.h"

namespace winnow::cuda {
namespace {

template <class Function>
void load(Function& function, void* library, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) fail(ExitCode::kDevice, "GPU: cuBLASLt has no function ", name);
}

}  // namespace

void CublasLt::check(cublasStatus_t status, std::string_view operation) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
  fail(memory ? ExitCode::kMemory : ExitCode::kDevice, "GPU: ", operation, ": ",
       get_status_string(status));
}

// Never closed: it registers work of its own for the end of the process.
CublasLt load_cublaslt() {
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    fail(ExitCode::kDevice, "GPU: cannot load cuBLASLt: ", why == nullptr ? name : why);
  }
  CublasLt api;
  load(api.get_status_string, library, "cublasLtGetStatusString");
  load(api.create, library, "cublasLtCreate");
  load(api.destroy, library, "cublasLtDestroy");
  load(api.matmul, library, "cublasLtMatmul");
  load(api.get_heuristic, library, "cublasLtMatmulAlgoGetHeuristic");
  load(api.desc_create, library, "cublasLtMatmulDescCreate");
  load(api.desc_destroy, library, "cublasLtMatmulDescDestroy");
  load(api.desc_set, library, "cublasLtMatmulDescSetAttribute");
  load(api.layout_create, library, "cublasLtMatrixLayoutCreate");
  load(api.layout_destroy, library, "cublasLtMatrixLayoutDestroy");
  load(api.preference_create, library, "cublasLtMatmulPreferenceCreate");
  load(api.preference_destroy, library, "cublasLtMatmulPreferenceDestroy");
  load(api.preference_set, library, "cublasLtMatmulPreferenceSetAttribute");
  return api;
}

}  // namespace winnow::cuda
