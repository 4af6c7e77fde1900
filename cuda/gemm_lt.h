// Matrix products of many rows, by cuBLASLt.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <type_traits>

#include "cuda/cublaslt.h"
#include "src/base/dtype.h"
#include "weights/model.h"

namespace winnow::cuda {

/// One product: y = x W^T, or y += x W^T where `accumulate`. Sums are fp32; fp32 inputs are
/// multiplied as fp32, never rounded to TF32.
struct Product {
  Matrix w;                    // [rows, cols]
  const void* x = nullptr;     // [n, cols] w.type
  int64_t n = 0;               // at least 1
  void* y = nullptr;           // [n, rows] y_type
  DType y_type = DType::kF32;  // fp32 or w.type
  bool accumulate = false;
};

/// Plans and runs products. What is planned once for a shape is kept. Needs a current device.
class GemmLt {
 public:
  /// What cuBLASLt may use on the side, aligned to 256: products with little in x and much in w
  /// are cut along their sums, and the parts are added there.
  static constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;

  GemmLt();
  ~GemmLt();
  GemmLt(const GemmLt&) = delete;
  GemmLt& operator=(const GemmLt&) = delete;

  /// Queues a product on `stream`, or returns false where the library has no way to compute that
  /// shape. The same product over the same data gives the same bits.
  /// workspace [kWorkspaceBytes], not used by two products at a time
  bool multiply(const Product& product, void* workspace, cudaStream_t stream);

 private:
  /// What a plan depends on. Alignments in bytes: powers of two up to 256.
  struct Shape {
    int64_t n = 0;
    int64_t rows = 0;
    int64_t cols = 0;
    DType type = DType::kF32;
    DType y_type = DType::kF32;
    bool accumulate = false;
    uint32_t align_w = 0;
    uint32_t align_x = 0;
    uint32_t align_y = 0;

    auto operator<=>(const Shape&) const = default;
  };
  template <class Handle, class Destroy>
  using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;
  using Desc = Owned<cublasLtMatmulDesc_t, decltype(CublasLt::desc_destroy)>;
  using Layout = Owned<cublasLtMatrixLayout_t, decltype(CublasLt::layout_destroy)>;
  using Preference = Owned<cublasLtMatmulPreference_t, decltype(CublasLt::preference_destroy)>;
  struct Plan {
    Desc desc;
    Layout w;
    Layout x;
    Layout y;
    cublasLtMatmulAlgo_t algorithm{};
    bool exists = false;
  };

  static Shape shape_of(const Product& product);
  const Plan& plan_for(const Shape& shape);
  Plan make_plan(const Shape& shape) const;
  Desc make_desc() const;
  Layout make_layout(DType type, int64_t rows, int64_t cols) const;
  Preference make_preference(const Shape& shape) const;

  CublasLt lt_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Shape, Plan> plans_;
};

}  // namespace winnow::cuda
