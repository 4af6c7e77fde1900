// h = silu(rmsnorm(x) Wgate^T) * (rmsnorm(x) Wup^T) for one row, silu(z) = z / (1 + e^-z).
//
//   rows of W   | gate [size] | up [size] |      group j: rows j and size + j
//
// The warp that has gate j has up j too, and makes h[j] of them. Bound by memory: 2 * size *
// hidden_size * 2 bytes. See gemv.cuh for the rest.
#include "cuda/gemv.cuh"

namespace winnow::cuda {
namespace {

constexpr int kRows = 2;

template <class T>
struct GateUpOutput {
  T* h;  // [size]
  int size;

  struct State {};

  __device__ int n_groups() const { return size; }
  __device__ int row(int group, int r) const { return group + r * size; }
  __device__ void begin() const {}
  __device__ State open(int) const { return {}; }
  __device__ void close(const State&, int group, const float (&sums)[kRows]) const {
    if (threadIdx.x % kWarp != 0) return;
    const float gate = sums[0];
    h[group] = from_float<T>(gate / (1.0F + expf(-gate)) * sums[1]);
  }
};

template <class T, int kStages>
__global__ void __launch_bounds__(kBoundThreads, kBoundBlocks)
    gemv_gate_up_kernel(const Weights<T> w, const NormedRow in, const GateUpOutput<T> output) {
  multiply<kRows, kStages>(w, NormedInput(in), output);
}

}  // namespace

void gemv_gate_up(const Matrix& w, const NormedRow& in, void* h, const GemvPlan& plan,
                  Stream stream) {
  const int64_t size = w.rows / 2;
  const size_t shared_bytes = gemv_shared_bytes(w.cols, GemvInput::kNormed, plan);
  with_half_type(w.type, [&]<class T>(const T*) {
    with_stages<kRows>(plan, [&]<int kStages>(std::integral_constant<int, kStages>) {
      const GateUpOutput<T> output = {static_cast<T*>(h), static_cast<int>(size)};
      launch_gemv(plan, size, shared_bytes, "gate and up", stream, gemv_gate_up_kernel<T, kStages>,
                  weights_of<T>(w), in, output);
    });
  });
}

}  // namespace winnow::cuda
