// What the fused products of a decode token share: y = W x for one row x, W [rows, cols] of 16-bit
// numbers.
//
// Bound by reading W once: rows * cols * 2 bytes. So nothing but the stream of W matters, and it
// must never stop. A group is kRows rows of W that belong together (a pair that rope turns, a gate
// and its up, neighbours). The grid is as large as the GPU and stays: warp w of all warps takes the
// groups w, w + warps, w + 2 * warps, ... and reads them as one stream of pieces, 512 bytes of a
// row each, 16 bytes a lane:
//
//   group w                               group w + warps
//   row 0 | piece 0 | piece 1 | ... |     row 0 | piece 0 | ...
//   row 1 | piece 0 | piece 1 | ... |     row 1 | piece 0 | ...
//            stage 0   stage 1              stage n   ...
//
// A stage is the same piece of all rows of the group. kStages of them are under way at any time
// into a ring in shared memory, also across the ends of groups; each lane reads back what it
// fetched itself, so that the ring needs no barrier:
//
//   ring of a warp   | stage 0 | stage 1 | ... | stage kStages - 1 |     kRows * 512 bytes each
//
// The ring is filled before wait_for_previous(): while the kernel before this one ends and x
// is staged, the memory goes on reading. A block takes at most half of a multiprocessor, so that
// the next kernel can be there and do the same.
//
//   | launch | fill the ring | wait | stage x | multiply, refill ..................... | end |
//            |   the kernel before  |                     | next: launch | fill | wait
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/async_copy.cuh"
#include "cuda/check.h"
#include "cuda/early_start.cuh"
#include "cuda/gemv_fused.h"
#include "cuda/gemv_input.cuh"
#include "cuda/types.cuh"
#include "src/base/error.h"

namespace winnow::cuda {

/// Launch bounds of all these kernels: registers for twice 640 threads, 48 each. Blocks are
/// smaller; so the next kernel of the chain finds registers too, beside them.
constexpr int kBoundThreads = 640;
constexpr int kBoundBlocks = 2;

/// The matrix as a kernel sees it.
template <class T>
struct Weights {
  const T* data;  // [rows, cols]
  int rows;
  int cols;  // a multiple of kLaneColumns
};

/// The groups of this warp: first, first + step, ... below end. Neighbouring groups go to different
/// blocks, so that all multiprocessors have the same to do, give or take one group.
struct Share {
  int first;
  int step;
  int end;
};

__device__ inline Share share_of_warp(int n_groups) {
  const auto blocks = static_cast<int>(gridDim.x);
  const auto warps = static_cast<int>(blockDim.x) / kWarp;
  const auto warp = static_cast<int>(threadIdx.x) / kWarp;
  return {warp * blocks + static_cast<int>(blockIdx.x), warps * blocks, n_groups};
}

/// The stream of W through this warp's ring. `rows` says which rows are a group: rows.row(group, r)
/// for r < kRows.
template <class T, int kRows, int kStages, class Rows>
class WeightRing {
 public:
  static constexpr int kStageBytes = kRows * kWarp * 16;

  __device__ WeightRing(const Weights<T>& w, const Rows& rows, const Share& share, std::byte* rings)
      : w_(w), rows_(rows), step_(share.step), end_(share.end), group_(share.first) {
    const unsigned warp = threadIdx.x / kWarp;
    slot_ = rings + warp * kStages * kStageBytes + first_column() * sizeof(T);
    open_group();
  }

  /// Before the first take().
  __device__ void fill() {
#pragma unroll
    for (int i = 0; i < kStages; ++i) fetch();
  }

  /// The oldest stage: 16 bytes of each row of its group.
  __device__ void take(uint4 (&weights)[kRows]) const {
    wait_for_copies<kStages - 1>();
#pragma unroll
    for (int r = 0; r < kRows; ++r) weights[r] = *piece(r);
  }

  /// Starts on the stage behind the youngest, in place of the oldest: once what take() gave is
  /// used. Behind the end of the stream there is nothing to fetch.
  __device__ void fetch() {
    if (group_ < end_) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) copy_async16(piece(r), row_[r] + column_, column_ < w_.cols);
      column_ += kPiece;
      if (column_ - first_column() >= w_.cols) {
        group_ += step_;
        open_group();
      }
    }
    close_copies();
    next_ = next_ + 1 == kStages ? 0 : next_ + 1;
  }

 private:
  __device__ static int first_column() {
    return static_cast<int>(threadIdx.x) % kWarp * kLaneColumns;
  }

  __device__ uint4* piece(int r) const {
    return reinterpret_cast<uint4*>(slot_ + next_ * kStageBytes + r * kWarp * 16);
  }

  __device__ void open_group() {
    column_ = first_column();
    if (group_ >= end_) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      row_[r] = w_.data + static_cast<int64_t>(rows_.row(group_, r)) * w_.cols;
    }
  }

  const Weights<T>& w_;
  const Rows& rows_;
  int step_;
  int end_;
  int group_;              // that is fetched from
  int column_ = 0;         // of this lane, to be fetched next
  int next_ = 0;           // stage of the ring to be taken, then fetched into
  const T* row_[kRows]{};  // the group's rows
  std::byte* slot_;        // this lane's 16 bytes of row 0 of stage 0
};

/// sum += w x over 8 columns
template <class T>
__device__ inline void add_products(const uint4& w, const float (&x)[kLaneColumns], float& sum) {
  const uint32_t words[] = {w.x, w.y, w.z, w.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack<T>(words[i]);
    sum = fmaf(pair.x, x[2 * i], sum);
    sum = fmaf(pair.y, x[2 * i + 1], sum);
  }
}

/// A block's part of a product. `input` stages x (gemv_input.cuh); `output` says which rows of W
/// are a group, and what becomes of their sums:
///   int n_groups() const;
///   int row(int group, int r) const;
///   void begin();                          after the wait, once
///   State open(int group) const;           fetches what close() will need
///   void close(const State& state, int group, const float (&sums)[kRows]) const;
/// The last two are called by whole warps; every lane has the sums.
template <int kRows, int kStages, class T, class Input, class Output>
__device__ void multiply(const Weights<T>& w, Input input, Output output) {
  extern __shared__ __align__(16) std::byte shared[];
  let_next_begin();
  const Share share = share_of_warp(output.n_groups());
  WeightRing<T, kRows, kStages, Output> ring(w, output, share, shared);
  ring.fill();
  const unsigned rings_bytes = blockDim.x / kWarp * kStages * ring.kStageBytes;
  input.prepare(shared + rings_bytes, w.cols);
  wait_for_previous();
  output.begin();
  input.stage();
  __syncthreads();

  const float scale = input.scale();
  const int n_pieces = static_cast<int>(ceil_div(w.cols, kPiece));
  for (int group = share.first; group < share.end; group += share.step) {
    const auto state = output.open(group);
    float sums[kRows] = {};
    for (int i = 0; i < n_pieces; ++i) {
      uint4 weights[kRows];
      float x[kLaneColumns];
      ring.take(weights);
      input.load(i, x);
#pragma unroll
      for (int r = 0; r < kRows; ++r) add_products<T>(weights[r], x, sums[r]);
      ring.fetch();
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) sums[r] = lanes_sum(sums[r]) * scale;
    output.close(state, group, sums);
  }
}

/// kRows neighbouring rows of W are a group; where the last ones are missing, the last row is there
/// once more, and Output::close() leaves its sum aside.
template <int kRows>
struct NeighbourRows {
  int rows;

  __device__ int n_groups() const { return (rows + kRows - 1) / kRows; }
  __device__ int row(int group, int r) const { return min(group * kRows + r, rows - 1); }

  /// The row whose sum this lane brings home; -1: none.
  __device__ int row_of_lane(int group) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int row = group * kRows + lane;
    return lane < kRows && row < rows ? row : -1;
  }
};

/// values[lane], without an indexed register.
template <int kRows>
__device__ inline float of_lane(const float (&values)[kRows]) {
  float value = values[0];
#pragma unroll
  for (int r = 1; r < kRows; ++r) {
    if (static_cast<int>(threadIdx.x) % kWarp == r) value = values[r];
  }
  return value;
}

template <class T>
Weights<T> weights_of(const Matrix& w) {
  return {static_cast<const T*>(w.data), static_cast<int>(w.rows), static_cast<int>(w.cols)};
}

/// Calls `body` with a null pointer of the 16-bit type of `type`.
template <class Body>
void with_half_type(DType type, Body&& body) {
  switch (type) {
    case DType::kF16: return body(static_cast<const __half*>(nullptr));
    case DType::kBF16: return body(static_cast<const __nv_bfloat16*>(nullptr));
    case DType::kF32: fail(ExitCode::kInternal, "a fused gemv of fp32");
  }
}

/// Calls `body` with the stages that plan.depth gives groups of kRows rows, as a constant.
template <int kRows, class Body>
void with_stages(const GemvPlan& plan, Body&& body) {
  switch (plan.depth) {
    case 8: return body(std::integral_constant<int, 8 / kRows>{});
    case 10: return body(std::integral_constant<int, 10 / kRows>{});
    case 12: return body(std::integral_constant<int, 12 / kRows>{});
    case 16: return body(std::integral_constant<int, 16 / kRows>{});
    case 20: return body(std::integral_constant<int, 20 / kRows>{});
    case 24: return body(std::integral_constant<int, 24 / kRows>{});
    default: fail(ExitCode::kInternal, "a fused gemv with ", plan.depth, " pieces under way");
  }
}

/// The same with plan.rows as a constant before it.
template <class Body>
void with_rows_and_stages(const GemvPlan& plan, Body&& body) {
  const auto with_rows = [&]<int kRows>(std::integral_constant<int, kRows> rows) {
    with_stages<kRows>(plan, [&](auto stages) { body(rows, stages); });
  };
  switch (plan.rows) {
    case 1: return with_rows(std::integral_constant<int, 1>{});
    case 2: return with_rows(std::integral_constant<int, 2>{});
    default: fail(ExitCode::kInternal, "a fused gemv of ", plan.rows, " rows at a time");
  }
}

/// `kernel`, over `n_groups` groups of rows of W.
template <class... Parameters, class... Arguments>
void launch_gemv(const GemvPlan& plan, int64_t n_groups, size_t shared_bytes, const char* what,
                 Stream stream, void (*kernel)(Parameters...), const Arguments&... arguments) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared_bytes)),
             what);
  const Launch launch = {.grid = blocks_for(std::min<int64_t>(n_groups, plan.blocks), 1),
                         .block = static_cast<unsigned>(plan.warps * kWarp),
                         .shared_bytes = shared_bytes,
                         .stream = stream};
  launch_early(launch, what, kernel, arguments...);
}

}  // namespace winnow::cuda
