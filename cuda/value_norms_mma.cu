// Norms of v R and v W_O on tensor cores, for 16-bit types and heads of 64 or 128.
//
//   products [32 rows, 8 columns] = V [32, head_dim] * B [head_dim, 8]       2 blocks of mma
//
// Grid: block (g, b, KV head) is of query head g of the group; the group's blocks of the same rows
// run side by side and find V in the second-level cache. A warp keeps 32 rows of V in registers and
// goes over the columns of B, which lie in shared memory, head_dim of them (a panel) at a time:
//
//   kOutput     B = R, one panel. R is fp32: it comes as two parts of T, R 2^s = high + low, so
//   that
//               the products, summed up in fp32, are as good as those of R. Below its diagonal
//               alone: column n needs the elements n and on.
//   kOutputL1   B = W_O, hidden_size / head_dim panels, in its own type.
//
// Lane 4 g + c holds of a block (mma's layout; elements in the order of attention_decode_tile.cuh):
//
//   V         rows g, g + 8         elements 32 j + 8 c .. 8 c + 7
//   B         column g              elements 32 j + 8 c .. 8 c + 7     16 bytes, one load
//   products  rows g, g + 8         columns 2c, 2c + 1
//
// A panel is stored in that order: piece (t, j, lane) is what the lane needs for columns 8 t .. and
// elements 32 j ... Products leave nothing behind but their squares' (or absolute values') sums.
// Bound by the tensor cores: 2.5 head_dim^2 (kOutput) or 2 head_dim hidden_size FLOPs for a row and
// query head.
#include <algorithm>

#include "cuda/attention.cuh"
#include "cuda/attention_decode_tile.cuh"
#include "cuda/check.h"
#include "cuda/value_norms.h"

namespace winnow::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = 32;                // of a warp
constexpr int64_t kTargetBlocks = 1056;  // 4 rounds of 2 on each of 132 multiprocessors
constexpr int kTopExponent = 8;          // of the greatest element of R 2^s

template <class T>
struct Norms {
  const T* v;  // [entries, head_dim] of kv
  KvRows kv;
  const int32_t* rows;  // [n_kv_heads]
  ScoreLists lists;
  int group;
  const float* factor;  // [n_heads, head_dim, head_dim], of kOutput
  const T* o;           // [n_outputs, width], of kOutputL1
  int n_outputs;
  int64_t width;
};

/// head_dim columns of B, in kParts parts.
template <int kHeadDim, int kParts>
struct Panel {
  static constexpr int kColumnBlocks = kHeadDim / 8;
  static constexpr int kSteps = kHeadDim / 32;
  uint4 piece[kParts][kColumnBlocks][kSteps][kWarp];

  /// Where elements [8 p, 8 p + 8) of column n are.
  __device__ uint4& at(int part, int n, int p) {
    return piece[part][n / 8][p / 4][n % 8 * 4 + p % 4];
  }
};

/// 2^s for a head's factor, such that the greatest element of R 2^s is about 2^kTopExponent: F16's
/// range then holds R with all its bits. To be called by all threads, once in a kernel.
template <int kHeadDim>
__device__ float factor_scale(const float* factor) {
  __shared__ float warps[kWarps];
  float most = 0;
  for (int at = static_cast<int>(threadIdx.x); at < kHeadDim * kHeadDim; at += kThreads) {
    most = fmaxf(most, fabsf(factor[at]));
  }
  most = warp_max(most);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = most;
  __syncthreads();
  for (const float warp : warps) most = fmaxf(most, warp);
  if (!(most > 0) || isinf(most)) return 1;
  int exponent = 0;
  (void)frexpf(most, &exponent);
  return ldexpf(1, kTopExponent - max(exponent, -100));
}

/// panel = factor * scale, in two parts.
template <class T, int kHeadDim>
__device__ void fill_factor(const float* factor, float scale, Panel<kHeadDim, 2>& panel) {
  for (int at = static_cast<int>(threadIdx.x); at < kHeadDim * kHeadDim / 8; at += kThreads) {
    const int n = at % kHeadDim;
    const int p = at / kHeadDim;
    Pack<T, 8> high, low;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float value = factor[(8 * p + e) * kHeadDim + n] * scale;
      high.value[e] = from_float<T>(value);
      low.value[e] = from_float<T>(value - to_float(high.value[e]));
    }
    memcpy(&panel.at(0, n, p), &high, sizeof(high));
    memcpy(&panel.at(1, n, p), &low, sizeof(low));
  }
}

/// panel = columns [first, first + kHeadDim) of a head's W_O; zeros behind the last.
/// o: the head's element of row 0
template <class T, int kHeadDim>
__device__ void fill_outputs(const T* o, int64_t width, int first, int n_outputs,
                             Panel<kHeadDim, 1>& panel) {
  constexpr int kPieces = kHeadDim / 8;
  for (int at = static_cast<int>(threadIdx.x); at < kHeadDim * kPieces; at += kThreads) {
    const int n = at / kPieces;
    const int p = at % kPieces;
    uint4 bits = {0, 0, 0, 0};
    if (first + n < n_outputs) {
      bits = *reinterpret_cast<const uint4*>(o + (first + n) * width + p * 8);
    }
    panel.at(0, n, p) = bits;
  }
}

/// A warp's rows: [m][i] is row 16 m + 8 i + g.
template <int kHeadDim>
struct ValueBlock {
  Words v[2][2][kHeadDim / 32];
};

/// Rows [first, first + kRows); those past the last are stood in for by it.  v [n_rows, kHeadDim]
template <class T, int kHeadDim>
__device__ ValueBlock<kHeadDim> load_values(const T* v, int first, int n_rows) {
  ValueBlock<kHeadDim> to;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = min(first + 16 * m + 8 * i + lane_g(), n_rows - 1);
#pragma unroll
      for (int j = 0; j < kHeadDim / 32; ++j) {
        to.v[m][i][j] = load_words(v + int64_t{row} * kHeadDim + 32 * j + 8 * lane_c());
      }
    }
  }
  return to;
}

/// sums[m][i] += squares (two parts) or absolute values (one) of the rows' products with columns
/// 8 t and on, of which the elements before 32 kFirst are 0.
template <class T, int kFirst, int kHeadDim, int kParts>
__device__ void take_columns(const ValueBlock<kHeadDim>& values,
                             const Panel<kHeadDim, kParts>& panel, int t, float (&sums)[2][2]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float products[kParts][2][4] = {};
#pragma unroll
  for (int j = kFirst; j < kHeadDim / 32; ++j) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const uint4 piece = panel.piece[part][t][j][lane];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const auto& v0 = values.v[m][0][j].word;
        const auto& v1 = values.v[m][1][j].word;
        mma<T>(products[part][m], v0[0], v1[0], v0[1], v1[1], piece.x, piece.y);
        mma<T>(products[part][m], v0[2], v1[2], v0[3], v1[3], piece.z, piece.w);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if constexpr (kParts == 2) {
        const float product = products[0][m][e] + products[1][m][e];
        sums[m][e / 2] = fmaf(product, product, sums[m][e / 2]);
      } else {
        sums[m][e / 2] += fabsf(products[0][m][e]);
      }
    }
  }
}

/// All columns of a panel; of a factor's, below its diagonal.
template <class T, int kHeadDim, int kParts, int kStep = 0>
__device__ void take_panel(const ValueBlock<kHeadDim>& values, const Panel<kHeadDim, kParts>& panel,
                           float (&sums)[2][2]) {
  constexpr bool kTriangle = kParts == 2;
#pragma unroll 2
  for (int t = 4 * kStep; t < 4 * kStep + 4; ++t) {
    take_columns<T, kTriangle ? kStep : 0>(values, panel, t, sums);
  }
  if constexpr (kStep + 1 < kHeadDim / 32) {
    take_panel<T, kHeadDim, kParts, kStep + 1>(values, panel, sums);
  }
}

/// The norms of a warp's rows, out of sums over the columns that each lane has.
template <class T>
__device__ void store_norms(const Norms<T>& a, int h, int first, const float (&sums)[2][2],
                            bool squares, float scale) {
  const int g = static_cast<int>(blockIdx.x);
  float* score = a.lists.score + (int64_t{h} * a.group + g) * a.lists.stride;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float sum = lanes_sum<4>(sums[m][i]);
      const int row = first + 16 * m + 8 * i + lane_g();
      if (lane_c() != 0 || row >= a.rows[h]) continue;
      const bool seen = ((a.kv.mask[a.kv.first[h] + row] >> g) & 1U) != 0;
      score[row] = seen ? (squares ? sqrtf(sum) / scale : sum) : kUnseen;
    }
  }
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2) value_norms_mma_factor_kernel(const Norms<T> a) {
  extern __shared__ uint4 memory[];
  auto& panel = *reinterpret_cast<Panel<kHeadDim, 2>*>(memory);
  const int h = static_cast<int>(blockIdx.z);
  const int64_t head = int64_t{h} * a.group + blockIdx.x;
  const float* factor = a.factor + head * kHeadDim * kHeadDim;
  const float scale = factor_scale<kHeadDim>(factor);
  fill_factor<T>(factor, scale, panel);
  __syncthreads();
  const T* v = a.v + a.kv.first[h] * kHeadDim;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int step = static_cast<int>(gridDim.y) * kWarps * kRows;
  for (int first = (static_cast<int>(blockIdx.y) * kWarps + warp) * kRows; first < a.rows[h];
       first += step) {
    const ValueBlock<kHeadDim> values = load_values<T, kHeadDim>(v, first, a.rows[h]);
    float sums[2][2] = {};
    take_panel<T>(values, panel, sums);
    store_norms(a, h, first, sums, true, scale);
  }
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2) value_norms_mma_output_kernel(const Norms<T> a) {
  extern __shared__ uint4 memory[];
  auto& panel = *reinterpret_cast<Panel<kHeadDim, 1>*>(memory);
  const int h = static_cast<int>(blockIdx.z);
  const int64_t head = int64_t{h} * a.group + blockIdx.x;
  const T* v = a.v + a.kv.first[h] * kHeadDim;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int step = static_cast<int>(gridDim.y) * kWarps * kRows;
  for (int block = static_cast<int>(blockIdx.y) * kWarps * kRows; block < a.rows[h];
       block += step) {
    const int first = block + warp * kRows;
    const ValueBlock<kHeadDim> values = load_values<T, kHeadDim>(v, first, a.rows[h]);
    float sums[2][2] = {};
    for (int column = 0; column < a.n_outputs; column += kHeadDim) {
      __syncthreads();
      fill_outputs<T>(a.o + head * kHeadDim, a.width, column, a.n_outputs, panel);
      __syncthreads();
      take_panel<T>(values, panel, sums);
    }
    store_norms(a, h, first, sums, false, 1);
  }
}

template <class T, int kHeadDim>
void launch(const NormArgs& args, Stream stream) {
  const Norms<T> a = {.v = static_cast<const T*>(args.kv.v),
                      .kv = args.kv,
                      .rows = args.zones.rows,
                      .lists = args.lists,
                      .group = static_cast<int>(args.heads.group()),
                      .factor = args.w.o_factor,
                      .o = static_cast<const T*>(args.w.o.data),
                      .n_outputs = static_cast<int>(args.w.o.rows),
                      .width = args.w.o.cols};
  const bool factored = args.how == ValueNorm::kOutput;
  const auto kernel = factored ? value_norms_mma_factor_kernel<T, kHeadDim>
                               : value_norms_mma_output_kernel<T, kHeadDim>;
  const int bytes = factored ? static_cast<int>(sizeof(Panel<kHeadDim, 2>))
                             : static_cast<int>(sizeof(Panel<kHeadDim, 1>));
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "shared memory of value_norms");
  const int64_t most = ceil_div(kTargetBlocks, args.heads.n_heads);
  const dim3 grid(grid_size(args.heads.group()),
                  std::min(blocks_for(args.zones.max_rows, kWarps * kRows), grid_size(most)),
                  grid_size(args.heads.n_kv_heads));
  kernel<<<grid, kThreads, static_cast<size_t>(bytes), stream>>>(a);
  check_launch("value_norms");
}

template <class T>
bool launch_for_head(const NormArgs& args, Stream stream) {
  const bool aligned =
      aligned16(args.kv.v) &&
      (args.how == ValueNorm::kOutput || (args.w.o.type == args.type && aligned16(args.w.o.data)));
  if (!aligned) return false;
  switch (args.heads.head_dim) {
    case 64: launch<T, 64>(args, stream); return true;
    case 128: launch<T, 128>(args, stream); return true;
    default: return false;
  }
}

}  // namespace

bool value_norms_mma(const NormArgs& args, Stream stream) {
  switch (args.type) {
    case DType::kF16: return launch_for_head<__half>(args, stream);
    case DType::kBF16: return launch_for_head<__nv_bfloat16>(args, stream);
    case DType::kF32: break;
  }
  return false;
}

}  // namespace winnow::cuda
