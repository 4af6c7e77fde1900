// Window attention on tensor cores, for 16-bit types and heads of 64 or 128.
//
//   scores [32 queries, 16 rows] = Q [32, head_dim] * K^T [head_dim, 16]     2 x 2 blocks of mma
//
// Grid: block (b, group of heads, KV head) takes tiles b, b + gridDim.x, ... of kTile rows, which
// come to shared memory by cp.async, kStages of them on their way. A warp keeps the 32 queries of
// one query head in registers, as the side of 16 of the instruction, and goes over the tile 16 rows
// at a time; where a KV head has one or two query heads, warps share its tile's rows instead.
//
// Lane 4 g + c holds of a block (mma's layout; elements in the order of attention_decode_tile.cuh):
//
//   Q        queries g, g + 8          elements 32 j + 8 c .. 8 c + 7
//   K        row g                     elements 32 j + 8 c .. 8 c + 7     16 bytes, one load
//   scores   queries g, g + 8          rows 2c, 2c + 1
//
//   lines    (max, sum) of four queries a lane, over all rows that the lane meets; lanes, then
//            warps and blocks, are added up in a fixed order at the end
//   columns  four rows a lane, summed up over its four queries and then over the 8 lanes g
//
// A row's pieces of 16 bytes lie in shared memory with piece p at p ^ (row odd ? 4 : 0): the lanes
// that a load serves at once, of two rows, meet all banks.
//
// Bound by reading K from device memory, twice; shared memory and exponentials are close behind.
#include "cuda/async_copy.cuh"
#include "cuda/attention_decode_tile.cuh"
#include "cuda/window_attention.cuh"

namespace winnow::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kTile = 64;   // rows
constexpr int kStages = 3;  // tiles in shared memory
constexpr int kChunk = 16;  // rows whose scores a warp has at a time
constexpr int kPiece = 8;   // elements of 16 bytes

template <class T, int kHeadDim>
struct Stages {
  T k[kStages][kTile * kHeadDim];
};

/// Where the piece of row r that holds elements [kPiece p, ...) is.
template <int kHeadDim>
__device__ constexpr int piece_at(int r, int p) {
  return r * kHeadDim + (p ^ ((r & 1) << 2)) * kPiece;
}

/// What a warp works at.
struct Place {
  int h;          // KV head
  int bit;        // of the mask, of the query head; may be beyond the group
  int first_row;  // of a tile, of the warp
  int end_row;
  int part;   // its number among those of a query
  bool idle;  // there is no such query head: the warp only helps to copy

  __device__ Place(int heads, int group) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int split = warp / heads;
    const int splits = kWarps / heads;
    h = static_cast<int>(blockIdx.z);
    bit = static_cast<int>(blockIdx.y) * heads + warp % heads;
    first_row = kTile / splits * split;
    end_row = first_row + kTile / splits;
    part = static_cast<int>(blockIdx.x) * splits + split;
    idle = bit >= group;
  }
};

/// The warp's queries; zeros where there are none.
template <int kHeadDim>
struct QueryBlock {
  Words q[2][2][kHeadDim / 32];  // [m][i]: query 16 m + 8 i + g
  int visible[2][2];             // rows that it sees, masks aside
};

template <class T, int kHeadDim>
__device__ QueryBlock<kHeadDim> load_query_block(const Window<T>& w, const Place& at) {
  QueryBlock<kHeadDim> to = {};
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = 16 * m + 8 * i + lane_g();
      if (at.idle || query >= w.taken()) continue;
      const T* from = w.query(at.h * w.group + at.bit, query);
      to.visible[m][i] = w.visible_to(at.h, query);
#pragma unroll
      for (int j = 0; j < kHeadDim / 32; ++j) {
        to.q[m][i][j] = load_words(from + 32 * j + 8 * lane_c());
      }
    }
  }
  return to;
}

/// Starts the copy of rows [first, first + kTile) of those up to n_rows, zeros behind them.
/// k [n_rows, kHeadDim]
template <class T, int kHeadDim>
__device__ void copy_tile(const T* k, int first, int n_rows, T* to) {
  constexpr int kPieces = kHeadDim / kPiece;
#pragma unroll
  for (int at = static_cast<int>(threadIdx.x); at < kTile * kPieces; at += kThreads) {
    const int r = at / kPieces;
    const int p = at % kPieces;
    const bool inside = first + r < n_rows;
    const T* from = k + int64_t{inside ? first + r : 0} * kHeadDim + p * kPiece;
    copy_async16(to + piece_at<kHeadDim>(r, p), from, inside);
  }
  close_copies();
}

/// Which of a tile's rows the head sees: bit r % 32 of word r / 32.
struct TileBits {
  uint32_t word[kTile / kWarp];

  __device__ uint32_t chunk(int row) const {
    return (row < kWarp ? word[0] >> row : word[1] >> (row - kWarp)) & 0xffffU;
  }
};
static_assert(kTile == 2 * kWarp && kChunk == 16);

/// The masks of a tile's rows, those of lane and lane + 32; 0 past n_rows.
__device__ inline uint2 load_masks(const uint32_t* mask, int first, int n_rows) {
  const int row = first + static_cast<int>(threadIdx.x) % kWarp;
  uint2 masks = {0, 0};
  if (row < n_rows) masks.x = mask[row];
  if (row + kWarp < n_rows) masks.y = mask[row + kWarp];
  return masks;
}

__device__ inline TileBits bits_of(uint2 masks, int bit) {
  return {{__ballot_sync(kAllLanes, ((masks.x >> bit) & 1U) != 0),
           __ballot_sync(kAllLanes, ((masks.y >> bit) & 1U) != 0)}};
}

/// [m][t][e]: query 16 m + 8 (e / 2) + g, row 8 t + 2 c + e % 2 of a chunk.
using Scores = float[2][2][4];

/// The products of a chunk's rows with the warp's queries.  k: the tile
template <class T, int kHeadDim>
__device__ void multiply(const QueryBlock<kHeadDim>& queries, const T* k, int row, Scores& scores) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (float& score : scores[m][t]) score = 0;
    }
  }
#pragma unroll
  for (int j = 0; j < kHeadDim / 32; ++j) {
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const int at = piece_at<kHeadDim>(row + 8 * t + lane_g(), 4 * j + lane_c());
      const uint4 piece = *reinterpret_cast<const uint4*>(k + at);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const auto& q0 = queries.q[m][0][j].word;
        const auto& q1 = queries.q[m][1][j].word;
        mma<T>(scores[m][t], q0[0], q1[0], q0[1], q1[1], piece.x, piece.y);
        mma<T>(scores[m][t], q0[2], q1[2], q0[3], q1[3], piece.z, piece.w);
      }
    }
  }
}

/// kUnseen for rows that a query does not see.  bits: of the chunk; row: its first
template <int kHeadDim>
__device__ void hide(const QueryBlock<kHeadDim>& queries, uint32_t bits, int row, Scores& scores) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = 8 * t + 2 * lane_c() + e % 2;
        const bool seen = ((bits >> column) & 1U) != 0 && row + column < queries.visible[m][e / 2];
        if (!seen) scores[m][t][e] = kUnseen;
      }
    }
  }
}

/// Calls take(row, bits, scores) for the warp's chunks of the rows [0, n_rows): scores before they
/// are scaled, kUnseen where a row is hidden.
template <class T, int kHeadDim, class F>
__device__ void for_chunks(const Window<T>& w, const Place& at, const QueryBlock<kHeadDim>& queries,
                           int n_rows, Stages<T, kHeadDim>& stages, F&& take) {
  const T* k = w.k + w.kv.first[at.h] * kHeadDim;
  const uint32_t* mask = w.kv.mask + w.kv.first[at.h];
  const int step = static_cast<int>(gridDim.x) * kTile;
  const int begin = static_cast<int>(blockIdx.x) * kTile;
  const int seen_by_all = w.visible_to(at.h, 0);  // the first of the queries sees the fewest
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    copy_tile<T, kHeadDim>(k, begin + stage * step, n_rows, stages.k[stage]);
  }
  uint2 masks = load_masks(mask, begin, n_rows);
  int stage = 0;
  for (int first = begin; first < n_rows; first += step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // the tile is there for all, and the one before it is used up by all
    const int ahead = (stage + kStages - 1) % kStages;
    copy_tile<T, kHeadDim>(k, first + (kStages - 1) * step, n_rows, stages.k[ahead]);
    const TileBits bits = bits_of(masks, at.bit);
    masks = load_masks(mask, first + step, n_rows);
    for (int row = at.first_row; row < at.end_row && !at.idle; row += kChunk) {
      Scores scores;
      multiply<T, kHeadDim>(queries, stages.k[stage], row, scores);
      const uint32_t seen = bits.chunk(row);
      const bool whole = seen == 0xffffU && first + row + kChunk <= seen_by_all;
      if (!whole) hide(queries, seen, first + row, scores);
      take(first + row, seen, scores);
    }
    stage = (stage + 1) % kStages;
  }
  wait_for_copies<0>();
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 3)
    window_attention_mma_lines_kernel(const Window<T> w, int heads) {
  extern __shared__ uint4 memory[];
  auto& stages = *reinterpret_cast<Stages<T, kHeadDim>*>(memory);
  const Place at(heads, w.group);
  const QueryBlock<kHeadDim> queries = load_query_block<T, kHeadDim>(w, at);
  LinePart lines[2][2];
  for_chunks(w, at, queries, w.seen[at.h], stages, [&](int, uint32_t, const Scores& scores) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float s[4] = {scores[m][0][2 * i], scores[m][0][2 * i + 1], scores[m][1][2 * i],
                            scores[m][1][2 * i + 1]};
        LinePart& line = lines[m][i];
        const float greatest = fmaxf(fmaxf(s[0], s[1]), fmaxf(s[2], s[3])) * w.scale;
        const float max = fmaxf(line.max, greatest);
        const float base = base_of(max);
        float sum = 0;
#pragma unroll
        for (const float score : s) sum += exp2f(fmaf(score, w.scale, -base));
        line.sum = fmaf(line.sum, exp2f(line.max - base), sum);
        line.max = max;
      }
    }
  });
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      lines[m][i].add_lanes<4>();
      const int query = 16 * m + 8 * i + lane_g();
      if (lane_c() == 0 && !at.idle) {
        w.part(at.h * w.group + at.bit, query, at.part) = lines[m][i];
      }
    }
  }
}

/// Sums of four values over the 8 lanes g; lane 4 g + c ends with that of value 2 (g / 4) + g / 2
/// % 2.
__device__ inline float sum_columns(const float (&values)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bool upper = (lane & 16) != 0;
  float two[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float handed = upper ? values[i] : values[i + 2];
    const float kept = upper ? values[i + 2] : values[i];
    two[i] = kept + __shfl_xor_sync(kAllLanes, handed, 16);
  }
  const bool odd = (lane & 8) != 0;
  const float one = (odd ? two[1] : two[0]) + __shfl_xor_sync(kAllLanes, odd ? two[0] : two[1], 8);
  return one + __shfl_xor_sync(kAllLanes, one, 4);
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 3)
    window_attention_mma_columns_kernel(const Window<T> w, int heads) {
  extern __shared__ uint4 memory[];
  auto& stages = *reinterpret_cast<Stages<T, kHeadDim>*>(memory);
  const Place at(heads, w.group);
  const QueryBlock<kHeadDim> queries = load_query_block<T, kHeadDim>(w, at);
  const int head = at.h * w.group + at.bit;
  const int n_rows = w.rows[at.h];
  float lse[2][2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = 16 * m + 8 * i + lane_g();
      const bool exists = !at.idle && query < w.taken();
      lse[m][i] = exists ? w.lse[head * kLines + query] : -kUnseen;
    }
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int column = (lane & 16) / 2 + 2 * lane_c() + (lane & 8) / 8;  // that sum_columns leaves
  for_chunks(w, at, queries, n_rows, stages, [&](int row, uint32_t seen, const Scores& scores) {
    float sums[4] = {};
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int t = 0; t < 2; ++t) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float score = scores[m][t][e];
          const float weight = exp2f(fmaf(score, w.scale, -lse[m][e / 2]));
          sums[2 * t + e % 2] += score == kUnseen ? 0.0F : w.term(weight);
        }
      }
    }
    const float sum = sum_columns(sums);
    if ((lane & 4) != 0 || row + column >= n_rows) return;
    w.store(head, row + column, sum, ((seen >> column) & 1U) != 0);
  });
}

template <class T, int kHeadDim>
void launch(const WindowArgs& args, Stream stream) {
  constexpr int kBytes = sizeof(Stages<T, kHeadDim>);
  const MmaSplit split(args.heads);
  Window<T> w = window_of<T>(args, split.parts());
  for (const auto kernel : {window_attention_mma_lines_kernel<T, kHeadDim>,
                            window_attention_mma_columns_kernel<T, kHeadDim>}) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
               "shared memory of window_attention");
  }
  const dim3 grid(grid_size(split.blocks), grid_size(split.groups),
                  grid_size(args.heads.n_kv_heads));
  const int heads = static_cast<int>(split.heads);
  for (; w.first < w.n; w.first += kLines) {
    window_attention_mma_lines_kernel<T, kHeadDim><<<grid, kThreads, kBytes, stream>>>(w, heads);
    check_launch("window_attention: lines");
    merge_lines(w.parts, args.heads.n_heads * kLines, split.parts(), w.lse, stream);
    window_attention_mma_columns_kernel<T, kHeadDim><<<grid, kThreads, kBytes, stream>>>(w, heads);
    check_launch("window_attention: columns");
  }
}

template <class T>
bool launch_for_head(const WindowArgs& args, Stream stream) {
  if (!aligned16(args.queries) || !aligned16(args.kv.k)) return false;
  switch (args.heads.head_dim) {
    case 64: launch<T, 64>(args, stream); return true;
    case 128: launch<T, 128>(args, stream); return true;
    default: return false;
  }
}

}  // namespace

bool window_attention_mma(const WindowArgs& args, Stream stream) {
  if (args.kv.window != 0) return false;
  switch (args.type) {
    case DType::kF16: return launch_for_head<__half>(args, stream);
    case DType::kBF16: return launch_for_head<__nv_bfloat16>(args, stream);
    case DType::kF32: break;
  }
  return false;
}

}  // namespace winnow::cuda
