// Attention of a prompt's last queries to each row, summed over the queries: any type, any head.
//
// Grid: block (b, head) takes tiles b, b + gridDim.x, ... of 32 rows of the query head's KV head.
// Block: scores of 32 rows and kLines queries as in tile_products.cuh, a lane for each query.
//
//   lines     every lane keeps (max, sum) of its query over its warp's rows; at the end the warps'
//             are added up in their order
//   columns   a row's weights are summed up over the lanes, in a tree that is always the same
//
// Bound by shared memory, see there; K is read once for every query head of the group.
#include <algorithm>

#include "cuda/tile_products.cuh"
#include "cuda/window_attention.cuh"

namespace winnow::cuda {
namespace {

static_assert(kLines == kSide && kLines == kWarp);

/// What a lane's query sees.
struct Sight {
  int rows;   // rows before this one; 0: there is no such query
  int bit;    // of their masks
  int start;  // from this place in the text on
};

template <class T>
__device__ Sight sight_of(const Window<T>& w, int h, int bit, int i) {
  const int rows = i < w.taken() ? max(w.visible_to(h, i), 0) : 0;
  return {rows, bit, rows > 0 ? w.kv.window_start_of(w.kv.first[h] + rows - 1) : 0};
}

/// Calls take(row, shown, score) for the block's rows [0, n_rows) and the lane's query: the row is
/// one of the warp's, the score kUnseen where the query does not see it.
/// memory: two tiles of head_dim elements
template <class T, class F>
__device__ void for_scores(const Window<T>& w, int head, int n_rows, float* memory, F&& take) {
  const int h = head / w.group;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int pitch = tile_pitch(w.head_dim);
  float* const queries = memory;
  float* const keys = memory + kSide * pitch;
  const int64_t entry = w.kv.first[h];
  const Sight sight = sight_of(w, h, head % w.group, lane);
  fill_tile(queries, w.taken(), w.head_dim,
            [&](int i, int d) { return to_float(w.query(head, i)[d]); });
  for (int first = static_cast<int>(blockIdx.x) * kSide; first < n_rows;
       first += static_cast<int>(gridDim.x) * kSide) {
    __syncthreads();  // the last tile is used up
    fill_tile(keys, min(kSide, n_rows - first), w.head_dim,
              [&](int r, int d) { return to_float(w.k[(entry + first + r) * w.head_dim + d]); });
    __syncthreads();
    float products[kTileRowsEach];
    tile_products(keys, queries, pitch, products);
#pragma unroll
    for (int u = 0; u < kTileRowsEach; ++u) {
      const int row = first + warp + kTileWarps * u;
      if (row >= n_rows) break;
      const bool shown = row < sight.rows && ((w.kv.mask[entry + row] >> sight.bit) & 1U) != 0 &&
                         place_of(w.kv, entry + row) >= sight.start;
      take(row, shown, shown ? products[u] * w.scale : kUnseen);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kTileThreads) window_attention_lines_kernel(const Window<T> w) {
  extern __shared__ float4 memory[];
  __shared__ LinePart warps[kTileWarps][kLines];
  const int head = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  LinePart line;
  for_scores(w, head, w.seen[head / w.group], reinterpret_cast<float*>(memory),
             [&](int, bool shown, float score) {
               if (shown) line.add(score, 1);
             });
  warps[warp][lane] = line;
  __syncthreads();
  if (warp != 0) return;
  for (int other = 1; other < kTileWarps; ++other) {
    line.add(warps[other][lane].max, warps[other][lane].sum);
  }
  w.part(head, lane, static_cast<int>(blockIdx.x)) = line;
}

template <class T>
__global__ void __launch_bounds__(kTileThreads) window_attention_columns_kernel(const Window<T> w) {
  extern __shared__ float4 memory[];
  const int head = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float lse = w.lse[head * kLines + lane];
  for_scores(w, head, w.rows[head / w.group], reinterpret_cast<float*>(memory),
             [&](int row, bool shown, float score) {
               const float sum = lanes_sum(shown ? w.term(exp2f(score - lse)) : 0.0F);
               const bool any = __any_sync(kAllLanes, shown) != 0;
               if (lane == 0) w.store(head, row, sum, any);
             });
}

/// A score that is NaN or +infinity must not be lost: exp2f(score - max) of LinePart::add makes NaN
/// of either.
__global__ void window_attention_merge_kernel(const LinePart* parts, int lines, int n_parts,
                                              float* lse) {
  const int line = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (line >= lines) return;
  LinePart all;
  for (int at = lane; at < n_parts; at += kWarp) {
    const LinePart& part = parts[int64_t{line} * n_parts + at];
    all.add(part.max, part.sum);
  }
  all.add_lanes<kWarp>();
  if (lane == 0) lse[line] = all.sum == 0 ? -kUnseen : all.max + log2f(all.sum);
}

template <class T>
void launch_plain(const WindowArgs& args, Stream stream) {
  const int64_t blocks = plain_blocks(args.heads);
  Window<T> w = window_of<T>(args, blocks);
  const dim3 grid(grid_size(blocks), grid_size(args.heads.n_heads));
  const size_t bytes = size_t{2} * kSide * static_cast<size_t>(tile_pitch(w.head_dim)) * 4;
  for (const auto kernel : {window_attention_lines_kernel<T>, window_attention_columns_kernel<T>}) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(bytes)),
               "shared memory of window_attention");
  }
  for (; w.first < w.n; w.first += kLines) {
    window_attention_lines_kernel<T><<<grid, kTileThreads, bytes, stream>>>(w);
    check_launch("window_attention: lines");
    merge_lines(w.parts, args.heads.n_heads * kLines, blocks, w.lse, stream);
    window_attention_columns_kernel<T><<<grid, kTileThreads, bytes, stream>>>(w);
    check_launch("window_attention: columns");
  }
}

}  // namespace

void merge_lines(const LinePart* parts, int64_t lines, int64_t n_parts, float* lse, Stream stream) {
  constexpr int kThreads = 128;
  const unsigned blocks = blocks_for(lines, kThreads / kWarp);
  window_attention_merge_kernel<<<blocks, kThreads, 0, stream>>>(parts, static_cast<int>(lines),
                                                                 static_cast<int>(n_parts), lse);
  check_launch("window_attention: merge");
}

uint64_t window_attention_workspace_bytes(const Heads& heads) {
  const int64_t parts = std::max(plain_blocks(heads), MmaSplit(heads).parts());
  const auto lines = static_cast<uint64_t>(heads.n_heads * kLines);
  return lines * (static_cast<uint64_t>(parts) * sizeof(LinePart) + sizeof(float));
}

bool window_attention_plain(const WindowArgs& args, Stream stream) {
  with_type(args.type, [&]<class T>(const T*) { launch_plain<T>(args, stream); });
  return true;
}

void window_attention(const void* queries, int64_t n, const KvRows& kv, const Heads& heads,
                      DType type, const Zones& zones, WindowSum how, const ScoreLists& lists,
                      void* workspace, Stream stream) {
  const WindowArgs args = {.queries = queries,
                           .n = n,
                           .kv = kv,
                           .heads = heads,
                           .type = type,
                           .zones = zones,
                           .how = how,
                           .lists = lists,
                           .workspace = workspace};
  if (!window_attention_mma(args, stream)) window_attention_plain(args, stream);
}

}  // namespace winnow::cuda
