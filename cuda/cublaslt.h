// The library cuBLASLt, loaded when a GPU is used first.
//
// It is by far larger than this program, so it is no part of its start: commands that use no GPU
// never touch it, and a machine without a GPU need not have it.
#pragma once

#include <cublasLt.h>

#include <string_view>

namespace winnow::cuda {

/// The functions that are used of it, see the cuBLASLt manual. Once loaded, they stay.
struct CublasLt {
  decltype(&::cublasLtGetStatusString) get_status_string = nullptr;
  decltype(&::cublasLtCreate) create = nullptr;
  decltype(&::cublasLtDestroy) destroy = nullptr;
  decltype(&::cublasLtMatmul) matmul = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) get_heuristic = nullptr;
  decltype(&::cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&::cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;

  /// Throws where a call of the library failed: kMemory where memory ran out, else kDevice.
  void check(cublasStatus_t status, std::string_view operation) const;
};

/// Fails with kDevice, naming the file or the function, where it cannot be loaded.
CublasLt load_cublaslt();

}  // namespace winnow::cuda
