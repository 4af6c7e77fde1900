// cuBLASLt counts by columns: a row-major [n, m] matrix is its column-major [m, n] matrix. So
//
//   y = x W^T   row-major:     [n, rows] = [n, cols] [cols, rows]
//   Y = W X     column-major:  [rows, n] = [cols, rows]^T [cols, n]
//
// where W lies transposed: its rows are contiguous.
#include "cuda/gemm_lt.h"

#include <algorithm>
#include <utility>

namespace winnow::cuda {
namespace {

cudaDataType_t cuda_type(DType type) {
  switch (type) {
    case DType::kF32: return CUDA_R_32F;
    case DType::kF16: return CUDA_R_16F;
    case DType::kBF16: return CUDA_R_16BF;
  }
  return CUDA_R_32F;
}

/// The largest power of two up to 256 that divides an address.
uint32_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const uintptr_t lowest_bit = address & (~address + 1);
  return static_cast<uint32_t>(lowest_bit == 0 ? 256 : std::min<uintptr_t>(lowest_bit, 256));
}

}  // namespace

GemmLt::GemmLt() : lt_(load_cublaslt()) {
  lt_.check(lt_.create(&handle_), "start cuBLASLt");
}

GemmLt::~GemmLt() {
  plans_.clear();
  lt_.destroy(handle_);
}

bool GemmLt::multiply(const Product& product, void* workspace, cudaStream_t stream) {
  const Plan& plan = plan_for(shape_of(product));
  if (!plan.exists) return false;
  const float alpha = 1;
  const float beta = product.accumulate ? 1 : 0;
  lt_.check(lt_.matmul(handle_, plan.desc.get(), &alpha, product.w.data, plan.w.get(), product.x,
                       plan.x.get(), &beta, product.y, plan.y.get(), product.y, plan.y.get(),
                       &plan.algorithm, workspace, kWorkspaceBytes, stream),
            "matrix product");
  return true;
}

GemmLt::Shape GemmLt::shape_of(const Product& product) {
  return {.n = product.n,
          .rows = product.w.rows,
          .cols = product.w.cols,
          .type = product.w.type,
          .y_type = product.y_type,
          .accumulate = product.accumulate,
          .align_w = alignment(product.w.data),
          .align_x = alignment(product.x),
          .align_y = alignment(product.y)};
}

const GemmLt::Plan& GemmLt::plan_for(const Shape& shape) {
  const auto found = plans_.find(shape);
  if (found != plans_.end()) return found->second;
  return plans_.emplace(shape, make_plan(shape)).first->second;
}

GemmLt::Plan GemmLt::make_plan(const Shape& shape) const {
  Plan plan{.desc = make_desc(),
            .w = make_layout(shape.type, shape.cols, shape.rows),
            .x = make_layout(shape.type, shape.cols, shape.n),
            .y = make_layout(shape.y_type, shape.rows, shape.n)};
  const Preference preference = make_preference(shape);
  cublasLtMatmulHeuristicResult_t best{};
  int n_found = 0;
  const cublasStatus_t status =
      lt_.get_heuristic(handle_, plan.desc.get(), plan.w.get(), plan.x.get(), plan.y.get(),
                        plan.y.get(), preference.get(), 1, &best, &n_found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return plan;
  lt_.check(status, "plan a matrix product");
  plan.exists = n_found > 0 && best.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = best.algo;
  return plan;
}

GemmLt::Desc GemmLt::make_desc() const {
  cublasLtMatmulDesc_t raw = nullptr;
  lt_.check(lt_.desc_create(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describe a matrix product");
  Desc desc(raw, lt_.desc_destroy);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  lt_.check(lt_.desc_set(raw, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
            "describe a matrix product");
  return desc;
}

/// A column-major matrix without gaps.
GemmLt::Layout GemmLt::make_layout(DType type, int64_t rows, int64_t cols) const {
  cublasLtMatrixLayout_t raw = nullptr;
  lt_.check(lt_.layout_create(&raw, cuda_type(type), static_cast<uint64_t>(rows),
                              static_cast<uint64_t>(cols), rows),
            "describe a matrix");
  return {raw, lt_.layout_destroy};
}

/// Parts of a sum are added in fp32, also where y is of 16 bits.
GemmLt::Preference GemmLt::make_preference(const Shape& shape) const {
  cublasLtMatmulPreference_t raw = nullptr;
  lt_.check(lt_.preference_create(&raw), "plan a matrix product");
  Preference preference(raw, lt_.preference_destroy);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    lt_.check(lt_.preference_set(raw, attribute, &value, sizeof(value)), "plan a matrix product");
  };
  const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.align_w);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.align_x);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.align_y);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.align_y);
  return preference;
}

}  // namespace winnow::cuda
