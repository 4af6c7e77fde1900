#include "cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/driver.h"
#include "src/base/error.h"

namespace winnow::cuda {
namespace {

constexpr uint64_t kElementBytes = 2;

using Encode = decltype(&::cuTensorMapEncodeTiled);

/// Looked up once: maps are made for every launch.
Encode encoder() {
  static const auto encode = reinterpret_cast<Encode>(driver_function("cuTensorMapEncodeTiled"));
  return encode;
}

template <cuuint32_t kDimensions>
struct Tensor {
  cuuint64_t sizes[kDimensions];        // the innermost first
  cuuint64_t strides[kDimensions - 1];  // bytes, of all dimensions but the innermost
  cuuint32_t box[kDimensions];
};

template <cuuint32_t kDimensions>
CUtensorMap make_map(DType type, const void* data, const Tensor<kDimensions>& tensor) {
  cuuint32_t steps[kDimensions];
  for (cuuint32_t& step : steps) step = 1;
  CUtensorMap map{};
  const CUresult result = encoder()(
      &map,
      type == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      kDimensions, const_cast<void*>(data), tensor.sizes, tensor.strides, tensor.box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    fail(ExitCode::kDevice, "GPU: describe a tensor for bulk copies: the driver answered ",
         static_cast<int>(result));
  }
  return map;
}

}  // namespace

CUtensorMap map_rows(DType type, const void* data, int64_t rows, int64_t columns, int box_rows) {
  const auto width = static_cast<cuuint64_t>(columns);
  const Tensor<2> tensor{.sizes = {width, static_cast<cuuint64_t>(rows)},
                         .strides = {width * kElementBytes},
                         .box = {kBoxColumns, static_cast<cuuint32_t>(box_rows)}};
  return make_map(type, data, tensor);
}

CUtensorMap map_heads(DType type, const void* data, int64_t rows, int64_t heads, int64_t head_dim,
                      int box_rows) {
  const auto width = static_cast<cuuint64_t>(head_dim);
  const auto n_heads = static_cast<cuuint64_t>(heads);
  const Tensor<3> tensor{.sizes = {width, n_heads, static_cast<cuuint64_t>(rows)},
                         .strides = {width * kElementBytes, n_heads * width * kElementBytes},
                         .box = {kBoxColumns, 1, static_cast<cuuint32_t>(box_rows)}};
  return make_map(type, data, tensor);
}

}  // namespace winnow::cuda
