// q, k, v = rope(rmsnorm(x) Wqkv^T + bias) for one row; k and v go into their row of the cache.
//
//   rows of Wqkv   | q head 0 | q head 1 | ... | k head 0 | ... | v head 0 | ... |
//   a head         | 0 .. half-1 | half .. head_dim-1 |      group i: rows i and half + i
//
// The two rows of a group are the pair that rope turns (rope.cuh): one lane has both sums. What it
// needs beside them - the pair's angle, its place in the cache - is fetched before the sums are
// made. Bound by memory: qkv_size * hidden_size * 2 bytes. See gemv.cuh for the rest.
#include "cuda/gemv.cuh"
#include "cuda/rope.cuh"

namespace winnow::cuda {
namespace {

constexpr int kRows = 2;

template <class T>
struct QkvOutput {
  const float* bias;  // [qkv_size] or null
  T* q;               // [n_heads, head_dim]
  const int32_t* position;
  const int32_t* stopped;
  KvRows kv;
  int n_heads;
  int n_kv_heads;
  int half;
  const RopeFrequencies* frequencies;
  int32_t place = 0;   // *position
  bool writes = true;  // not stopped

  struct State {
    T* head;            // where the pair's head begins
    Rotation rotation;  // of q and k
    Pair<float> bias;
  };

  __device__ int n_groups() const { return (n_heads + 2 * n_kv_heads) * half; }
  __device__ int row(int group, int r) const {
    return group / half * 2 * half + group % half + r * half;
  }
  __device__ bool is_q(int head) const { return head < n_heads; }
  __device__ bool is_v(int head) const { return head >= n_heads + n_kv_heads; }
  __device__ int64_t entry_of(int head) const {
    const int h = (head - n_heads) % n_kv_heads;
    return kv.first[h] + kv.row_of(h, 0);
  }

  __device__ void begin() {
    place = __ldcg(position);
    writes = stopped == nullptr || __ldcg(stopped) == 0;
  }

  __device__ State open(int group) const {
    const int head = group / half;
    State state{};
    if (is_q(head)) {
      state.head = q + static_cast<int64_t>(head) * 2 * half;
    } else {
      state.head = static_cast<T*>(is_v(head) ? kv.v : kv.k) + entry_of(head) * 2 * half;
    }
    if (!is_v(head)) {
      state.rotation = rotation_at(place, frequencies->value[group % half], frequencies->scale);
    }
    if (bias != nullptr) state.bias = {__ldg(bias + row(group, 0)), __ldg(bias + row(group, 1))};
    return state;
  }

  __device__ void close(const State& state, int group, const float (&sums)[kRows]) const {
    if (threadIdx.x % kWarp != 0 || !writes) return;
    const int head = group / half;
    const int i = group % half;
    const Pair<float> x = {sums[0] + state.bias.low, sums[1] + state.bias.high};
    store_pair(state.head, half, i, convert<T>(is_v(head) ? x : rotate(x, state.rotation)));
    if (is_v(head) && i == 0) {
      const int64_t entry = entry_of(head);
      kv.position[entry] = place;
      kv.mask[entry] = kSeenByAll;
    }
  }
};

template <class T, int kStages>
__global__ void __launch_bounds__(kBoundThreads, kBoundBlocks)
    gemv_qkv_kernel(const Weights<T> w, const NormedRow in, QkvOutput<T> output,
                    const __grid_constant__ RopeFrequencies frequencies) {
  output.frequencies = &frequencies;
  multiply<kRows, kStages>(w, NormedInput(in), output);
}

}  // namespace

void gemv_qkv(const GemvQkvArgs& args, const RopeFrequencies& frequencies, const GemvPlan& plan,
              Stream stream) {
  const Heads& heads = args.heads;
  const size_t shared_bytes = gemv_shared_bytes(args.w.cols, GemvInput::kNormed, plan);
  with_half_type(args.w.type, [&]<class T>(const T*) {
    with_stages<kRows>(plan, [&]<int kStages>(std::integral_constant<int, kStages>) {
      const QkvOutput<T> output = {.bias = args.bias,
                                   .q = static_cast<T*>(args.q),
                                   .position = args.position,
                                   .stopped = args.stopped,
                                   .kv = args.kv,
                                   .n_heads = static_cast<int>(heads.n_heads),
                                   .n_kv_heads = static_cast<int>(heads.n_kv_heads),
                                   .half = static_cast<int>(heads.head_dim) / 2,
                                   .frequencies = nullptr};
      launch_gemv(plan, heads.qkv_size() / 2, shared_bytes, "q, k and v", stream,
                  gemv_qkv_kernel<T, kStages>, weights_of<T>(args.w), args.in, output, frequencies);
    });
  });
}

}  // namespace winnow::cuda
