// Attention for many query rows with Hopper's own instructions, for 16-bit types and heads of 64 or
// 128.
//
//   out[i] = sum over rows r that query i sees of  2^(scale q_i k_r - lse[i])  v_r
//   lse[i] = log2 of the sum of 2^(scale q_i k_r)            scale = log2(e) / sqrt(head_dim)
//
// A block has 128 (heads of 64: 192) query rows of one query head and goes over the head's K/V rows
// from the last one seen to row 0, 128 at a time, with a running softmax (attention.cuh):
//
//   warpgroup 0   produces: one warp copies tiles of q, k, v to shared memory, by TMA
//   warpgroup 1   query rows 0 .. 63      scores = q k^T     softmax in        out += weights v
//   warpgroup 2   query rows 64 .. 127    tensor cores       registers         tensor cores
//  (warpgroup 3   query rows 128 .. 191)
//
// Tensor cores and exponentials are at work together. Inside a warpgroup, the product with v of the
// tile before is started right behind the scores of this tile and runs during their softmax. And
// warpgroups take turns in starting products, so that one's softmax meets the other's products:
//
//   warpgroup 1   | start S(i), O(i-1) | softmax(i)           | start S(i+1), O(i) | ...
//   warpgroup 2          softmax(i-1)  | start S(i), O(i-1)   | softmax(i) ...
//   tensor cores  | S(i)  O(i-1) of 1  |  S(i)  O(i-1) of 2   | S(i+1)  O(i) of 1  | ...
//
// What a query sees is asked only in tiles where the answer may differ: those of the diagonal, and
// those of rows that an earlier pass has kept, which have masks.
//
// Bound by the tensor cores: 4 * head_dim operations a query and row it sees. A tile of K and V is
// 512 * head_dim bytes for 65536 * head_dim operations of a block (128 operations a byte), which at
// 600 TFLOP/s is 4.7 TB/s: far over what memory gives, so that tiles must come from the L2 cache.
// Hence units (see prefill_tiles.cuh) that start together read rows of the same place.
#include <algorithm>

#include "cuda/attention.cuh"
#include "cuda/attention_prefill.h"
#include "cuda/check.h"
#include "cuda/prefill_consume.cuh"
#include "cuda/prefill_produce.cuh"
#include "cuda/prefill_tiles.cuh"
#include "cuda/tensor_map.h"

namespace winnow::cuda {
namespace prefill {
namespace {

template <class S>
__device__ __forceinline__ void start_barriers(Shared<S>& shared) {
  shared.q_full.init(1);
  shared.q_free.init(S::kConsumers);
  for (int i = 0; i < S::kStages; ++i) {
    shared.k_full[i].init(1);
    shared.v_full[i].init(1);
    shared.v_copied[i].init(1);
    shared.k_free[i].init(S::kConsumers);
    shared.v_free[i].init(S::kConsumers);
  }
  hopper::publish_barriers();
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, 1)
    attention_prefill_sm90_kernel(const __grid_constant__ Maps maps,
                                  const __grid_constant__ Problem p) {
  extern __shared__ uint8_t memory[];
  constexpr uint32_t kAlign = alignof(Shared<S>);
  const uint32_t before = hopper::shared_address(memory) % kAlign;
  auto& shared = *reinterpret_cast<Shared<S>*>(memory + (kAlign - before) % kAlign);
  if (threadIdx.x == 0) {
    hopper::prefetch_map(maps.q);
    hopper::prefetch_map(maps.k);
    hopper::prefetch_map(maps.v);
    hopper::prefetch_map(maps.out);
    start_barriers<S>(shared);
  }
  __syncthreads();
  if (threadIdx.x < kWarpgroup) {
    hopper::shrink_registers<S::kProducerRegisters>();
    if (threadIdx.x < kWarp) produce<S>(maps, p, shared);
  } else {
    hopper::grow_registers<S::kConsumerRegisters>();
    consume<S>(maps, p, shared);
  }
}

template <class S>
Maps maps_of(const AttentionArgs& args) {
  const Heads& heads = args.heads;
  const KvRows& kv = args.kv;
  return {
      .q = map_heads(args.type, args.q, args.n, heads.n_heads, S::kHeadDim, kGroupQueries),
      .out = map_heads(args.type, args.out, args.n, heads.n_heads, S::kHeadDim, kGroupQueries),
      .k = map_rows(args.type, kv.k, kv.entries, S::kHeadDim, kKeys),
      .v = map_rows(args.type, kv.v, kv.entries, S::kHeadDim, kKeys),
  };
}

template <class S>
Problem problem_of(const AttentionArgs& args, const PrefillPlan& plan) {
  const KvRows& kv = args.kv;
  const Heads& heads = args.heads;
  return {.first = kv.first,
          .visible = kv.visible,
          .mask = kv.mask,
          .lse = args.lse,
          .appended = static_cast<int>(kv.appended),
          .n = static_cast<int>(args.n),
          .n_heads = static_cast<int>(heads.n_heads),
          .group = static_cast<int>(heads.group()),
          .scale = attention_scale(heads.head_dim),
          .slack = plan.slack,
          .units = static_cast<int>(ceil_div(args.n, S::kRows) * heads.n_heads)};
}

template <class S>
void launch(const AttentionArgs& args, const PrefillPlan& plan, Stream stream) {
  constexpr size_t kBytes = sizeof(Shared<S>) + alignof(Shared<S>);
  check_cuda(
      cudaFuncSetAttribute(attention_prefill_sm90_kernel<S>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes)),
      "shared memory of attention_prefill");
  const Problem problem = problem_of<S>(args, plan);
  const int blocks = plan.stays ? std::min(problem.units, args.gpu.multiprocessors) : problem.units;
  attention_prefill_sm90_kernel<S>
      <<<grid_size(blocks), S::kThreads, kBytes, stream>>>(maps_of<S>(args), problem);
  check_launch("attention_prefill_sm90");
}

template <class T>
bool launch_for_head(const AttentionArgs& args, const PrefillPlan& plan, Stream stream) {
  if (args.heads.head_dim == 64) {
    launch<Shape<T, 64>>(args, plan, stream);
  } else {
    launch<Shape<T, 128>>(args, plan, stream);
  }
  return true;
}

/// A ring takes one row at a time, and its newest row is not the last: such a row has masks behind
/// it that this kernel does not look for.
bool applies(const AttentionArgs& args) {
  const bool head = args.heads.head_dim == 64 || args.heads.head_dim == 128;
  return args.gpu.is_hopper() && head && args.n > 1 && args.kv.window == 0 && aligned16(args.q) &&
         aligned16(args.out) && aligned16(args.kv.k) && aligned16(args.kv.v);
}

/// K/V rows that stay in the L2 cache while q and out pass through it. An H100 has 50 MB.
constexpr int64_t kCacheBytes = 40'000'000;

}  // namespace
}  // namespace prefill

PrefillPlan prefill_plan(const AttentionArgs& args) {
  // Blocks that stay lose no time between units, but share out the work well only where all tiles
  // come equally fast: where the K/V rows of all heads stay in the L2 cache. (The rows that an
  // earlier pass has kept come on top; how many they are only the GPU knows.)
  const int64_t rows = args.kv.appended + args.n;
  const int64_t bytes = 4 * args.heads.kv_size() * rows;  // K and V, 2 bytes an element
  return {.stays = bytes <= prefill::kCacheBytes};
}

bool attention_prefill_sm90(const AttentionArgs& args, const PrefillPlan& plan, Stream stream) {
  if (!prefill::applies(args)) return false;
  switch (args.type) {
    case DType::kF16: return prefill::launch_for_head<__half>(args, plan, stream);
    case DType::kBF16: return prefill::launch_for_head<__nv_bfloat16>(args, plan, stream);
    case DType::kF32: break;
  }
  return false;
}

bool attention_prefill_sm90(const AttentionArgs& args, Stream stream) {
  return attention_prefill_sm90(args, prefill_plan(args), stream);
}

}  // namespace winnow::cuda
