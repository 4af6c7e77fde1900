// x += in W^T for one row: the attention's output and the MLP's, added to the residual stream.
//
//   rows of W   | 0 .. kRows-1 | kRows .. 2 kRows-1 | ...      group j: kRows neighbours
//
// Lane r of a warp adds the sum of row r of its group to x, which it fetched before the sums were
// made. No other warp touches those elements of x. These are the products with the fewest rows
// (hidden_size), so that there may be no more than one row for every warp: then kRows is 1. Bound
// by memory: rows * cols * 2 bytes. See gemv.cuh for the rest.
#include "cuda/gemv.cuh"

namespace winnow::cuda {
namespace {

template <int kRows>
struct SumsToResidual : NeighbourRows<kRows> {
  float* x;  // [rows]

  struct State {
    int row;       // this lane's, or -1
    float before;  // x[row]
  };

  __device__ SumsToResidual(int rows, float* residual) : NeighbourRows<kRows>{rows}, x(residual) {}
  __device__ void begin() const {}
  __device__ State open(int group) const {
    const int row = this->row_of_lane(group);
    return {row, row < 0 ? 0.0F : __ldcg(x + row)};
  }
  __device__ void close(const State& state, int, const float (&sums)[kRows]) const {
    if (state.row >= 0) x[state.row] = state.before + of_lane(sums);
  }
};

/// in [w.cols] T; x [w.rows]
template <class T, int kRows, int kStages>
__global__ void __launch_bounds__(kBoundThreads, kBoundBlocks)
    gemv_output_kernel(const Weights<T> w, const void* in, float* x) {
  multiply<kRows, kStages>(w, PlainInput<T>(in), SumsToResidual<kRows>(w.rows, x));
}

}  // namespace

void gemv_output(const Matrix& w, const void* in, float* x, const GemvPlan& plan, Stream stream) {
  const size_t shared_bytes = gemv_shared_bytes(w.cols, GemvInput::kPlain, plan);
  const int64_t n_groups = ceil_div(w.rows, plan.rows);
  with_half_type(w.type, [&]<class T>(const T*) {
    with_rows_and_stages(plan, [&]<int kRows, int kStages>(std::integral_constant<int, kRows>,
                                                           std::integral_constant<int, kStages>) {
      launch_gemv(plan, n_groups, shared_bytes, "an output projection", stream,
                  gemv_output_kernel<T, kRows, kStages>, weights_of<T>(w), in, x);
    });
  });
}

}  // namespace winnow::cuda
