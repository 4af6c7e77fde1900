// q and k heads, each normed by itself before they are rotated (Qwen3's QK norm), after the bias.
//
//   y = x / sqrt(mean(x^2) + eps) * weight      over the head_dim elements of one head
//
//   qkv row   | q head 0 | q head 1 | ... | k head 0 | ... | v head 0 | ... |
//                warp 0     warp 1          ...             (v: only where there is a bias)
//
// One warp a head, in place; a lane holds elements lane, lane + 32, ... Bound by memory: each
// element is read and written once.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kLaneElements = kMaxHeadDim / kWarp;

/// Warp w of block (b, i) has head b * kWarps + w of row i, of `n_heads` that are gone through.
template <class T>
__global__ void norm_heads_kernel(T* qkv, Heads heads, int n_heads, const float* bias,
                                  const float* q_norm, const float* k_norm, float eps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int head = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (head >= n_heads) return;
  const int d = static_cast<int>(heads.head_dim);
  T* x = qkv + int64_t{blockIdx.x} * heads.qkv_size() + int64_t{head} * d;
  float value[kLaneElements] = {};
  float sum = 0;
#pragma unroll
  for (int e = 0; e < kLaneElements; ++e) {
    const int at = lane + e * kWarp;
    if (at >= d) break;
    value[e] = to_float(x[at]) + (bias != nullptr ? bias[int64_t{head} * d + at] : 0.0F);
    sum = fmaf(value[e], value[e], sum);
  }
  const bool is_v = head >= heads.n_heads + heads.n_kv_heads;
  const float* weight = head < heads.n_heads ? q_norm : k_norm;
  const float scale = 1.0F / sqrtf(lanes_sum(sum) / static_cast<float>(d) + eps);
#pragma unroll
  for (int e = 0; e < kLaneElements; ++e) {
    const int at = lane + e * kWarp;
    if (at >= d) break;
    x[at] = from_float<T>(is_v ? value[e] : weight[at] * (value[e] * scale));
  }
}

}  // namespace

void norm_heads(const HeadNormArgs& args, Stream stream) {
  const Heads& heads = args.heads;
  const int64_t kv_heads = (args.bias != nullptr ? 2 : 1) * heads.n_kv_heads;
  const int64_t n_heads = heads.n_heads + kv_heads;
  const dim3 grid(grid_size(args.n), grid_size(ceil_div(n_heads, kWarps)));
  with_type(args.type, [&]<class T>(const T*) {
    norm_heads_kernel<T><<<grid, kThreads, 0, stream>>>(static_cast<T*>(args.qkv), heads,
                                                        static_cast<int>(n_heads), args.bias,
                                                        args.q_norm, args.k_norm, args.eps);
  });
  check_launch("norm_heads");
}

}  // namespace winnow::cuda
