// Decode attention on tensor cores: 16-bit types, heads of 64 or 128, one query row or few.
//
// Grid (x, y, z): about one block for every multiprocessor. z is the batch row, y takes the group 8
// query heads at a time, and the blocks along x divide the K/V rows of all KV heads among them
// (attention_decode_share.cuh). A block's 8 warps take the tiles of its share in turns
// (attention_decode_tile.cuh), each with the next tile on its way while it works on one:
//
//   warp 0   tile 0, tile 8, ...   8 heads' softmaxes |  warps, in order      shares, in order
//   warp 1   tile 1, tile 9, ...   8 heads' softmaxes |  ---------------> S0
//   ...                                               |   shared memory   S1  ---------------> out
//                                                the head's other blocks: S2      exchange
//
// Bound by memory: 4 * head_dim bytes a row. After winnowing, a layer is a few MB, read in 2 us:
// the time then goes into what follows one upon the other, so that chain is kept short:
//
//   counts -> addresses -> K, V, masks -> scores -> weights -> out -> exchange -> out of the head
//
//   - Counts change once a step. They are read before the kernel waits for the one before it, the
//     rows that they point to are fetched into L2, and after the wait into registers; only then are
//     they compared with the counts as they are now. Where they differ, it all is done again.
//   - K, V and masks are asked for at once: up to 1024 rows of 128 elements in 132 x 8 warps need
//     one trip to memory.
//   - Shares are merged by the last block of a head, which waits for the words of the others to
//     arrive in the exchange, without counters or fences: a word is there when it is no longer
//     kEmpty. So a share costs one store and one load on the way, not store, fence, atomic, load.
//     The block puts kEmpty back for the next launch. It waits only for blocks before it in the
//     grid, which have begun when it does, and they wait for nobody.
//
// All sums are in a fixed order, whoever comes first.
#include <algorithm>

#include "cuda/attention_decode_exchange.cuh"
#include "cuda/attention_decode_share.cuh"
#include "cuda/attention_decode_tile.cuh"
#include "cuda/check.h"
#include "cuda/early_start.cuh"

namespace winnow::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kMinShareRows = 64;  // a head's shares are not shorter, but for the last

/// The softmaxes of a block's warps.
template <int kHeadDim>
struct Shared {
  float out[kWarps][kHeadsAtOnce][kHeadDim + 8];  // padded: spreads heads over the banks
  float max[kWarps][kHeadsAtOnce];
  float sum[kWarps][kHeadsAtOnce];

  /// Puts this warp's first n_heads softmaxes there.
  __device__ void put(Softmaxes<kHeadDim>& s, int n_heads) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      for (int offset = 4; offset < kWarp; offset *= 2) {
        s.sum[h] += __shfl_xor_sync(kAllLanes, s.sum[h], offset);
      }
      const int head = 2 * lane_c() + h;
      if (head >= n_heads) continue;
#pragma unroll
      for (int i = 0; i < kHeadDim / 16; i += 2) {
        const Pack<float, 4> four = {s.out[i][h], s.out[i][h + 2], s.out[i + 1][h],
                                     s.out[i + 1][h + 2]};
        store_pack(&out[warp][head][i / 4 * 64 + 8 * lane_g() + i % 4 * 2], four);
      }
      if (lane_g() == 0) max[warp][head] = s.max[h];
      if (lane_g() == 0) sum[warp][head] = s.sum[h];
    }
  }

  /// The warps' outputs d .. d + 3 of a head, merged.
  __device__ Piece merged(int head, int d) const {
    Piece pieces[kWarps];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const Pack<float, 4> four = load_pack<4>(&out[w][head][d]);
      pieces[w] = {max[w][head], sum[w][head], {}};
#pragma unroll
      for (int e = 0; e < kVector; ++e) pieces[w].out[e] = four.value[e];
    }
    Piece total;
    add(total, pieces);
    return total;
  }
};

template <class T>
__device__ HeadView<T> view_of(const Attention<T>& a, const Share& share, int head_dim) {
  return {a.k + share.entry * head_dim, a.v + share.entry * head_dim, a.kv.mask + share.entry,
          share.rows};
}

/// Brings this warp's first two tiles into L2.
template <class T, int kHeadDim>
__device__ void prefetch(const Attention<T>& a, const Share& share) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  constexpr int kRows = Tile<kHeadDim>::kRows;
  const HeadView<T> head = view_of(a, share, kHeadDim);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = share.begin + (lane / 2 * kWarps + warp) * kRows;
  if (lane >= 4 || row >= share.end) return;
  const T* rows = (lane % 2 == 0 ? head.k : head.v) + int64_t{row} * kHeadDim;
  const auto bytes = static_cast<uint32_t>(min(kRows, head.rows - row) * kHeadDim * sizeof(T));
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(rows), "r"(bytes) : "memory");
  asm volatile("prefetch.global.L2 [%0];" ::"l"(head.mask + row) : "memory");
#endif
}

/// The share's softmaxes, this warp's part of them.
template <class T, int kHeadDim>
struct Worker {
  static constexpr int kRows = Tile<kHeadDim>::kRows;

  HeadView<T> head;
  int row = 0;  // the next tile's first
  Tile<kHeadDim> tile;
  Queries<kHeadDim> queries;

  /// Asks for the first tile, then for the queries, first_g the first of the group.
  __device__ void begin(const Attention<T>& a, const Share& share, int first_g) {
    head = view_of(a, share, kHeadDim);
    row = share.begin + static_cast<int>(threadIdx.x) / kWarp * kRows;
    if (row < share.end) fetch(head, row, tile);
    queries = load_queries<T, kHeadDim>(
        a.q + a.query_offset(max(share.head, 0), blockIdx.z, first_g), a.group - first_g);
  }

  __device__ void run(const Share& share, float scale, int first_g, Softmaxes<kHeadDim>& s) {
    constexpr int kStep = kWarps * kRows;
    for (; row < share.end; row += kStep) {
      Tile<kHeadDim> next;
      if (row + kStep < share.end) fetch(head, row + kStep, next);
      take<T>(tile, queries, scale, row, head.rows, first_g, s);
      tile = next;
    }
  }
};

/// Merges the block's warps; leaves that in the exchange, or merges all shares of the head and
/// writes the outputs.
template <class T, int kHeadDim>
__device__ void finish(const Attention<T>& a, const Share& share, int first_g, int n_heads,
                       const Shared<kHeadDim>& shared, const Exchange<kHeadDim>& exchange) {
  constexpr int kOfHead = kHeadDim / kVector;  // threads that merge a head: a warp, or half of one
  static_assert(kWarp % kOfHead == 0 && kHeadsAtOnce * kOfHead <= kThreads);
  const int head = static_cast<int>(threadIdx.x) / kOfHead;
  const int d = static_cast<int>(threadIdx.x) % kOfHead * kVector;
  const unsigned readers = __ballot_sync(kAllLanes, head < n_heads);
  if (head >= n_heads) return;
  const int64_t slice = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const int64_t slot = slice * gridDim.x + blockIdx.x;
  Piece own[1] = {shared.merged(head, d)};
  if (share.index < share.n - 1) {
    publish(exchange, slot, head, d, own[0]);
    return;
  }
  const int64_t first = slot - share.index;
  Piece total = await(exchange, first, share.index, head, d);
  add(total, own);
  if (d == 0) a.store_lse(share.head, blockIdx.z, first_g + head, total.max, total.sum);
  const float inverse = total.sum == 0 ? 0.0F : 1 / total.sum;
  Pack<T, kVector> out;
#pragma unroll
  for (int e = 0; e < kVector; ++e) out.value[e] = from_float<T>(total.out[e] * inverse);
  store_pack(a.out + a.query_offset(share.head, blockIdx.z, first_g + head) + d, out);
  clear(exchange, first, share.index, head, d, readers);
}

/// 8 warps of 208 registers leave 8 warps of 48 to a product of the step (gemv.cuh) beside it.
template <class T, int kHeadDim>
__global__ void __maxnreg__(208)
    attention_decode_mma_kernel(const Attention<T> a, int n_kv_heads, Exchange<kHeadDim> exchange) {
  __shared__ Shared<kHeadDim> shared;
  let_next_begin();
  const int i = static_cast<int>(blockIdx.z);
  const int first_g = static_cast<int>(blockIdx.y) * kHeadsAtOnce;
  const int n_heads = min(kHeadsAtOnce, a.group - first_g);
  const auto share_for = [&](const HeadRows& heads) {
    return share_of<Tile<kHeadDim>::kRows>(heads, n_kv_heads, static_cast<int>(blockIdx.x),
                                           static_cast<int>(gridDim.x), kMinShareRows);
  };
  const HeadRows guess = read_head_rows(a.kv, n_kv_heads, i);
  Share share = are_inside(guess, a.kv.entries) ? share_for(guess) : Share{};
  prefetch<T, kHeadDim>(a, share);
  wait_for_previous();
  const HeadRows heads = read_head_rows(a.kv, n_kv_heads, i);
  Worker<T, kHeadDim> worker;
  worker.begin(a, share, first_g);
  if (!same_rows(guess, heads)) {
    share = share_for(heads);
    worker.begin(a, share, first_g);
  }
  if (share.head < 0) return;
  Softmaxes<kHeadDim> softmaxes;
  worker.run(share, a.scale, first_g, softmaxes);
  shared.put(softmaxes, n_heads);
  __syncthreads();
  finish(a, share, first_g, n_heads, shared, exchange);
}

/// Blocks for one batch row and up to 8 query heads a group. All blocks of a launch together are
/// one for each multiprocessor, or, where that is fewer than the KV heads need, one for each head.
int64_t blocks_along_x(const Heads& heads, int64_t n, const Gpu& gpu) {
  const int64_t slices = n * ceil_div(heads.group(), kHeadsAtOnce);
  return std::max(heads.n_kv_heads, gpu.multiprocessors / slices);
}

/// Shared memory that a block asks for and does not use. The kernels before and behind this one are
/// laid out as a block for each multiprocessor, of half its shared memory (gemv.cuh), and are to be
/// there while this one is. Were a block of this one smaller, or some multiprocessors without one,
/// two blocks of the next kernel would settle where there is room, and none elsewhere; and the
/// kernels after that would follow them.
template <int kHeadDim>
size_t padding_bytes(const Gpu& gpu) {
  constexpr size_t kReservedBytes = 1024;  // of each block, by the system
  const auto half = static_cast<size_t>(gpu.shared_bytes) / 2;
  const size_t used = sizeof(Shared<kHeadDim>) + kReservedBytes;
  return half > used ? half - used : 0;
}

template <class T, int kHeadDim>
void launch(const AttentionArgs& args, Stream stream) {
  const Heads& heads = args.heads;
  const dim3 grid(grid_size(blocks_along_x(heads, args.n, args.gpu)),
                  grid_size(ceil_div(heads.group(), kHeadsAtOnce)), grid_size(args.n));
  const int64_t slots = int64_t{grid.x} * grid.y * grid.z;
  auto* out = static_cast<float*>(args.exchange);
  auto* softmax = reinterpret_cast<float2*>(out + slots * kHeadsAtOnce * kHeadDim);
  const char* const what = "attention_decode: mma";
  const size_t padding = padding_bytes<kHeadDim>(args.gpu);
  check_cuda(
      cudaFuncSetAttribute(attention_decode_mma_kernel<T, kHeadDim>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(padding)),
      what);
  launch_early({.grid = grid, .block = dim3(kThreads), .shared_bytes = padding, .stream = stream},
               what, attention_decode_mma_kernel<T, kHeadDim>, attention_of<T>(args),
               static_cast<int>(heads.n_kv_heads), Exchange<kHeadDim>{out, softmax});
}

template <class T>
bool launch_for(const AttentionArgs& args, Stream stream) {
  switch (args.heads.head_dim) {
    case 64: launch<T, 64>(args, stream); return true;
    case 128: launch<T, 128>(args, stream); return true;
    default: return false;
  }
}

}  // namespace

uint64_t attention_decode_exchange_bytes(const Heads& heads, int64_t n, const Gpu& gpu) {
  const int64_t slices = n * ceil_div(heads.group(), kHeadsAtOnce);
  const int64_t slots = std::max<int64_t>(gpu.multiprocessors, slices * heads.n_kv_heads);
  return static_cast<uint64_t>(slots * kHeadsAtOnce * (heads.head_dim + 2)) * sizeof(float);
}

bool attention_decode_mma(const AttentionArgs& args, Stream stream) {
  const bool aligned = aligned16(args.q) && aligned16(args.out) && aligned16(args.kv.k) &&
                       aligned16(args.kv.v) && aligned16(args.exchange);
  if (args.exchange == nullptr || !aligned || args.heads.n_kv_heads > kMostKvHeads) return false;
  if (args.kv.window != 0) return false;
  switch (args.type) {
    case DType::kF16: return launch_for<__half>(args, stream);
    case DType::kBF16: return launch_for<__nv_bfloat16>(args, stream);
    case DType::kF32: return false;
  }
  return false;
}

}  // namespace winnow::cuda
