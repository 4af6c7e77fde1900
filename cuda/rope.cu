// Rotary positions, and the batch's keys and values into their rows of the cache.
//
//   qkv row   | q head 0 | q head 1 | ... | k head 0 | ... | v head 0 | ... |
//   a head    | 0 .. half-1 | half .. head_dim-1 |      pair i: (x[i], x[half + i])
//
//   y[i]        = x[i] cos - x[half + i] sin       angle = position * frequency[i]
//   y[half + i] = x[half + i] cos + x[i] sin
//
// One thread a pair. rope_and_store: of q, k or v (v is only copied); block (i, b) takes pairs
// [b * kThreads, (b + 1) * kThreads) of row i, counted through all heads. rotate_rows: of k; block
// (b, h) takes such pairs of KV head h, counted through its rows. Bound by memory.
#include "cuda/check.h"
#include "cuda/rope.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

/// qkv [n, qkv_size] In; bias [qkv_size] or null; q [n, n_heads, head_dim] T; position [n]
template <class T, class In, bool kGrows>
__global__ void rope_kernel(const In* qkv, const float* bias, T* q, const int32_t* position,
                            const int32_t* stopped, Heads heads, KvRows kv,
                            const __grid_constant__ RopeFrequencies frequencies) {
  if (stopped != nullptr && *stopped != 0) return;
  const int half = static_cast<int>(heads.head_dim) / 2;
  const int pair = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (pair >= (heads.n_heads + 2 * heads.n_kv_heads) * half) return;
  const int64_t row = blockIdx.x;
  const int head = pair / half;  // of q, then k, then v
  const int i = pair % half;
  const int n_heads = static_cast<int>(heads.n_heads);
  const int n_kv_heads = static_cast<int>(heads.n_kv_heads);
  const bool is_q = head < n_heads;
  const bool is_v = head >= n_heads + n_kv_heads;
  const int h = is_q ? head / (n_heads / n_kv_heads) : (head - n_heads) % n_kv_heads;
  const int64_t entry = kv.first[h] + kv.row_of(h, row);
  const int32_t in_text = position[row];
  const bool in_cache = kv.places_in_cache();
  const int32_t place = in_cache ? static_cast<int32_t>(kv.visible_to(h, row) - 1) : in_text;

  const int64_t in = (row * (n_heads + 2 * n_kv_heads) + head) * heads.head_dim;
  Pair<float> x = load_pair(qkv + in, half, i);
  if (bias != nullptr) {
    const Pair<float> b = load_pair(bias + head * heads.head_dim, half, i);
    x = {x.low + b.low, x.high + b.high};
  }
  if (in_cache && !is_q && !is_v) {
    const Pair<T> plain = convert<T>(x);
    store_pair(static_cast<T*>(kv.k_plain) + entry * heads.head_dim, half, i, plain);
    x = convert<float>(plain);  // as rotate_rows will read it
  }
  const float frequency =
      frequency_at<kGrows>(frequencies, i, place, static_cast<int>(heads.head_dim));
  const Pair<T> y = convert<T>(is_v ? x : rotate(x, place, frequency, frequencies.scale));
  if (is_q) {
    store_pair(q + (row * n_heads + head) * heads.head_dim, half, i, y);
    return;
  }
  store_pair(static_cast<T*>(is_v ? kv.v : kv.k) + entry * heads.head_dim, half, i, y);
  if (is_v && i == 0) {
    kv.position[entry] = in_text;
    kv.mask[entry] = kSeenByAll;
  }
}

template <class T>
__global__ void rope_rotate_rows_kernel(KvRows kv, int head_dim,
                                        const __grid_constant__ RopeFrequencies frequencies) {
  const int half = head_dim / 2;
  const int64_t pair = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t h = blockIdx.y;
  const int64_t row = pair / half;
  const int i = static_cast<int>(pair % half);
  if (row >= kv.visible[h] || row == kv.slot[h]) return;
  const auto place = static_cast<int32_t>(kv.place_of(h, row));
  const int64_t at = (kv.first[h] + row) * head_dim;
  const Pair<float> x = load_pair(static_cast<const T*>(kv.k_plain) + at, half, i);
  store_pair(static_cast<T*>(kv.k) + at, half, i,
             convert<T>(rotate(x, place, frequencies.value[i], frequencies.scale)));
}

}  // namespace

void rope_and_store(const RopeArgs& args, const RopeFrequencies& frequencies, Stream stream) {
  const Heads& heads = args.heads;
  const int64_t pairs = heads.qkv_size() / 2;
  const dim3 grid(grid_size(args.batch.n), grid_size(ceil_div(pairs, kThreads)));
  with_type(args.type, [&]<class T>(const T*) {
    with_wide_type<T>(args.qkv_type, [&]<class In>(const In*) {
      const bool grows = frequencies.dynamic.positions > 0;
      const auto kernel = grows ? rope_kernel<T, In, true> : rope_kernel<T, In, false>;
      kernel<<<grid, kThreads, 0, stream>>>(static_cast<const In*>(args.qkv), args.bias,
                                            static_cast<T*>(args.q), args.batch.position,
                                            args.batch.stopped, heads, args.kv, frequencies);
    });
  });
  check_launch("rope");
}

void rotate_rows(const KvRows& kv, const Heads& heads, DType type,
                 const RopeFrequencies& frequencies, Stream stream) {
  const int64_t pairs = kv.capacity * heads.head_dim / 2;
  const dim3 grid(blocks_for(pairs, kThreads), grid_size(heads.n_kv_heads));
  with_type(type, [&]<class T>(const T*) {
    rope_rotate_rows_kernel<T>
        <<<grid, kThreads, 0, stream>>>(kv, static_cast<int>(heads.head_dim), frequencies);
  });
  check_launch("rotate_rows");
}

}  // namespace winnow::cuda
