// logits = rmsnorm(x) W^T for one row.
//
//   rows of W   | 0 .. kRows-1 | kRows .. 2 kRows-1 | ...      group j: kRows neighbours
//
// Lane r of a warp writes the sum of row r of its group. Bound by memory: vocab_size * hidden_size
// * 2 bytes. See gemv.cuh for the rest.
#include "cuda/gemv.cuh"

namespace winnow::cuda {
namespace {

template <int kRows>
struct SumsToLogits : NeighbourRows<kRows> {
  const int32_t* stopped;  // [1] or null
  float* logits;           // [rows]
  bool writes = true;      // not stopped

  struct State {};

  __device__ SumsToLogits(int rows, const int32_t* until, float* to)
      : NeighbourRows<kRows>{rows}, stopped(until), logits(to) {}
  __device__ void begin() { writes = stopped == nullptr || __ldcg(stopped) == 0; }
  __device__ State open(int) const { return {}; }
  __device__ void close(const State&, int group, const float (&sums)[kRows]) const {
    const int row = this->row_of_lane(group);
    if (row >= 0 && writes) logits[row] = of_lane(sums);
  }
};

/// logits [w.rows]
template <class T, int kRows, int kStages>
__global__ void __launch_bounds__(kBoundThreads, kBoundBlocks)
    gemv_logits_kernel(const Weights<T> w, const NormedRow in, const int32_t* stopped,
                       float* logits) {
  multiply<kRows, kStages>(w, NormedInput(in), SumsToLogits<kRows>(w.rows, stopped, logits));
}

}  // namespace

void gemv_logits(const Matrix& w, const NormedRow& in, const int32_t* stopped, float* logits,
                 const GemvPlan& plan, Stream stream) {
  const size_t shared_bytes = gemv_shared_bytes(w.cols, GemvInput::kNormed, plan);
  const int64_t n_groups = ceil_div(w.rows, plan.rows);
  with_half_type(w.type, [&]<class T>(const T*) {
    with_rows_and_stages(plan, [&]<int kRows, int kStages>(std::integral_constant<int, kRows>,
                                                           std::integral_constant<int, kStages>) {
      launch_gemv(plan, n_groups, shared_bytes, "logits", stream,
                  gemv_logits_kernel<T, kRows, kStages>, weights_of<T>(w), in, stopped, logits);
    });
  });
}

}  // namespace winnow::cuda
