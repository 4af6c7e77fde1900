// Rotary positions, and the batch's keys and values into their rows of the cache.
//
//   qkv row   | q head 0 | q head 1 | ... | k head 0 | ... | v head 0 | ... |
//   a head    | 0 .. half-1 | half .. head_dim-1 |      pair i: (x[i], x[half + i])
//
//   y[i]        = x[i] cos - x[half + i] sin       angle = position * theta^(-2i / head_dim)
//   y[half + i] = x[half + i] cos + x[i] sin
//
// One thread a pair, of q, k or v (v is only copied): block (i, b) takes pairs [b * kThreads,
// (b + 1) * kThreads) of row i, counted through all heads. Bound by memory.
#include <cmath>

#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr uint32_t kAllHeads = 0xffffffffU;  // a new row is seen by its whole group

template <class T>
struct Pair {
  T low;   // element i
  T high;  // element half + i
};

template <class T>
__device__ Pair<T> rotate(Pair<T> x, int32_t position, float frequency) {
  float sine = 0;
  float cosine = 0;
  sincosf(static_cast<float>(position) * frequency, &sine, &cosine);
  const float a = to_float(x.low);
  const float b = to_float(x.high);
  return {from_float<T>(a * cosine - b * sine), from_float<T>(b * cosine + a * sine)};
}

/// head [head_dim]
template <class T>
__device__ void store_pair(T* head, int half, int i, Pair<T> pair) {
  head[i] = pair.low;
  head[half + i] = pair.high;
}

/// qkv [n, qkv_size] In; q [n, n_heads, head_dim] T; position [n]
template <class T, class In>
__global__ void rope_kernel(const In* qkv, T* q, const int32_t* position, Heads heads, KvRows kv,
                            const __grid_constant__ RopeFrequencies frequencies) {
  const int half = static_cast<int>(heads.head_dim) / 2;
  const int pair = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (pair >= (heads.n_heads + 2 * heads.n_kv_heads) * half) return;
  const int64_t row = blockIdx.x;
  const int64_t head = pair / half;  // of q, then k, then v
  const int i = pair % half;
  const int32_t place = position[row];

  const In* in = qkv + (row * (heads.n_heads + 2 * heads.n_kv_heads) + head) * heads.head_dim;
  const Pair<float> x = {to_float(in[i]), to_float(in[half + i])};
  const bool is_v = head >= heads.n_heads + heads.n_kv_heads;
  const Pair<float> y = is_v ? x : rotate(x, place, frequencies.value[i]);
  const Pair<T> rounded = {from_float<T>(y.low), from_float<T>(y.high)};

  if (head < heads.n_heads) {
    store_pair(q + (row * heads.n_heads + head) * heads.head_dim, half, i, rounded);
    return;
  }
  const int64_t h = (head - heads.n_heads) % heads.n_kv_heads;
  const int64_t entry = kv.first[h] + kv.rows[h] + kv.appended + row;
  T* rows = static_cast<T*>(is_v ? kv.v : kv.k);
  store_pair(rows + entry * heads.head_dim, half, i, rounded);
  if (is_v && i == 0) {
    kv.position[entry] = place;
    kv.mask[entry] = kAllHeads;
  }
}

}  // namespace

RopeFrequencies rope_frequencies(double theta, int64_t head_dim) {
  RopeFrequencies frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequencies.value[i] = 1.0F / std::pow(static_cast<float>(theta), exponent);
  }
  return frequencies;
}

void rope_and_store(const RopeArgs& args, const RopeFrequencies& frequencies, Stream stream) {
  const Heads& heads = args.heads;
  const int64_t pairs = heads.qkv_size() / 2;
  const dim3 grid(grid_size(args.batch.n), grid_size(ceil_div(pairs, kThreads)));
  with_type(args.type, [&]<class T>(const T*) {
    with_wide_type<T>(args.qkv_type, [&]<class In>(const In*) {
      rope_kernel<T, In>
          <<<grid, kThreads, 0, stream>>>(static_cast<const In*>(args.qkv), static_cast<T*>(args.q),
                                          args.batch.position, heads, args.kv, frequencies);
    });
  });
  check_launch("rope");
}

}  // namespace winnow::cuda
