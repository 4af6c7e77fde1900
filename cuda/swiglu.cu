// h = silu(gate) * up, silu(z) = z / (1 + e^-z).
//
//   gate_up row   | gate [size] | up [size] |
//
// One thread kWidth neighbouring elements: block (i, b) takes a stretch of kThreads * kWidth
// columns of row i. kWidth is 16 bytes of T where rows allow it, else 1. Bound by memory.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

/// gate_up [n, 2 * size] In; h [n, size] T; size is a multiple of kWidth
template <class T, class In, int kWidth>
__global__ void swiglu_kernel(const In* gate_up, int64_t size, T* h) {
  const int64_t row = blockIdx.x;
  const int64_t column = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kWidth;
  if (column >= size) return;
  const In* gates = gate_up + row * 2 * size;
  const auto gate = load_pack<kWidth>(gates + column);
  const auto up = load_pack<kWidth>(gates + size + column);
  Pack<T, kWidth> out;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    const float z = to_float(gate.value[j]);
    out.value[j] = from_float<T>(z / (1.0F + expf(-z)) * to_float(up.value[j]));
  }
  store_pack(h + row * size + column, out);
}

template <class T, class In, int kWidth>
void launch(const In* gate_up, int64_t n, int64_t size, T* h, Stream stream) {
  const dim3 grid(grid_size(n), grid_size(ceil_div(size, kThreads * kWidth)));
  swiglu_kernel<T, In, kWidth><<<grid, kThreads, 0, stream>>>(gate_up, size, h);
}

}  // namespace

void swiglu(const void* gate_up, DType wide_type, int64_t n, int64_t size, void* h, DType type,
            Stream stream) {
  with_type(type, [&]<class T>(const T*) {
    with_wide_type<T>(wide_type, [&]<class In>(const In*) {
      constexpr int kWidth = kPack16<T>;
      const bool packs = size % kWidth == 0 && aligned16(gate_up) && aligned16(h);
      const auto* in = static_cast<const In*>(gate_up);
      auto* out = static_cast<T*>(h);
      packs ? launch<T, In, kWidth>(in, n, size, out, stream)
            : launch<T, In, 1>(in, n, size, out, stream);
    });
  });
  check_launch("swiglu");
}

}  // namespace winnow::cuda
