// The next token, the same as winnow::sample's to the bit.
//
// Logits become keys that ascend as logits descend (see sampler.cpp); NaN becomes the least key of
// all, so that whatever is wrong with the logits comes first too:
//
//   NaN 0 | +infinity 0x007fffff | greatest ... least | -infinity 0xff800000
//
// Greedy: the least of all (key, id) pairs, over many blocks, then over their results.
// Otherwise: a stable radix sort of the keys with their ids; a weight for each, e^((logit -
// greatest) / temperature), one thread an entry; then one block draws. The draw's sums are made in
// double precision by one thread in the order of the sorted list, as the host makes them; the
// block's other threads only fetch. Every product and sum is rounded by itself (__dmul_rn,
// __dadd_rn): the compiler must not fuse them.
#include <cub/device/device_radix_sort.cuh>

#include "cuda/check.h"
#include "cuda/early_start.cuh"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kParts = 128;         // blocks of the greedy search
constexpr int kDrawThreads = 1024;  // of the one block that draws
constexpr uint32_t kNanKey = 0;
constexpr uint32_t kInfinityKey = 0x007fffffU;
constexpr uint32_t kMaskedKey = 0xff800000U;

/// The logits that are drawn from: those of the network after the repeat penalty.
struct Logits {
  const float* values;   // [n]
  const uint8_t* seen;   // [n]
  float repeat_penalty;  // 1: off
  int32_t n;

  __device__ uint32_t key(int32_t id) const {
    float logit = values[id];
    if (repeat_penalty != 1 && seen[id] != 0) {
      logit = logit > 0 ? logit / repeat_penalty : logit * repeat_penalty;
    }
    if (isnan(logit)) return kNanKey;
    const uint32_t bits = __float_as_uint(logit + 0.0F);  // -0 becomes +0: they are a tie
    return (bits >> 31) != 0 ? bits : bits ^ 0x7fffffffU;
  }
};

__device__ float logit_of(uint32_t key) {
  return __uint_as_float((key >> 31) != 0 ? key : key ^ 0x7fffffffU);
}

/// The fault that the first of all keys tells of, or none.
__device__ LogitsFault fault_of(uint32_t first_key) {
  if (first_key == kNanKey) return LogitsFault::kNan;
  if (first_key == kInfinityKey) return LogitsFault::kInfinity;
  if (first_key == kMaskedKey) return LogitsFault::kAllMasked;
  return LogitsFault::kNone;
}

/// The host polls `number`: it is the last that it sees of a draw.
__device__ void tell_host(const DrawnSlots& drawn, int32_t id, LogitsFault fault) {
  const int32_t number = ++*drawn.count;
  Drawn* slot = drawn.slots + (number - 1) % Device::kMaxDrawn;
  slot->id = id;
  slot->fault = fault;
  __threadfence_system();
  *static_cast<volatile int32_t*>(&slot->number) = number;
}

/// By one thread, once in a draw.
__device__ void take_token(const StepState& state, int32_t token, const DrawnSlots& drawn) {
  *state.token = token;
  state.seen[token] = 1;
  *state.n_sampled += 1;
  for (int64_t i = 0; i < kMaxStopIds; ++i) {
    if (state.stop_ids[i] == token) *state.stopped = 1;
  }
  tell_host(drawn, token, LogitsFault::kNone);
}

__device__ void stop_at_fault(const StepState& state, int32_t id, LogitsFault fault,
                              const DrawnSlots& drawn) {
  *state.stopped = 1;
  tell_host(drawn, id, fault);
}

// ---- greedy ----

/// The least value of a block, in every thread. To be called by all, and once in a kernel.
template <int kBlockThreads>
__device__ uint64_t block_min(uint64_t value) {
  __shared__ uint64_t values[kBlockThreads];
  values[threadIdx.x] = value;
  for (int half = kBlockThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      values[threadIdx.x] = min(values[threadIdx.x], values[threadIdx.x + half]);
    }
  }
  __syncthreads();
  return values[0];
}

/// least [kParts]: of each block's share of the logits, key << 32 | id.
__global__ void sample_least_keys_kernel(Logits logits, uint64_t* least) {
  let_next_begin();
  wait_for_previous();
  uint64_t value = UINT64_MAX;
  const int32_t step = kParts * kThreads;
  for (int32_t id = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x); id < logits.n;
       id += step) {
    value = min(value, uint64_t{logits.key(id)} << 32 | static_cast<uint32_t>(id));
  }
  value = block_min<kThreads>(value);
  if (threadIdx.x == 0) least[blockIdx.x] = value;
}

/// least [kParts]
__global__ void sample_take_least_kernel(const uint64_t* least, StepState state, DrawnSlots drawn) {
  let_next_begin();
  wait_for_previous();
  if (*state.stopped != 0) return;
  const uint64_t value = block_min<kParts>(least[threadIdx.x]);
  if (threadIdx.x != 0) return;
  const auto id = static_cast<int32_t>(value & 0xffffffffU);
  const LogitsFault fault = fault_of(static_cast<uint32_t>(value >> 32));
  if (fault != LogitsFault::kNone) return stop_at_fault(state, id, fault, drawn);
  take_token(state, id, drawn);
}

// ---- a draw ----

/// keys, ids [n]
__global__ void sample_make_keys_kernel(Logits logits, uint32_t* keys, int32_t* ids) {
  const auto id = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (id >= logits.n) return;
  keys[id] = logits.key(id);
  ids[id] = id;
}

/// winnow::exp_portable, operation by operation.
__device__ double exp_portable(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42feep-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr int kDegree = 13;
  if (x < -708) return 0;
  if (x > 709) return __longlong_as_double(0x7ff0000000000000LL);

  const double n = floor(__dadd_rn(__dmul_rn(x, kLog2E), 0.5));
  const double r = __dsub_rn(__dsub_rn(x, __dmul_rn(n, kLn2High)), __dmul_rn(n, kLn2Low));
  double series = 1;
  for (int i = kDegree; i >= 1; --i) {
    series = __dadd_rn(1.0, __ddiv_rn(__dmul_rn(series, r), static_cast<double>(i)));
  }
  const long long exponent = static_cast<long long>(n) + 1023;
  return __dmul_rn(series, __longlong_as_double(exponent << 52));
}

/// keys [n] sorted; weights [n]
__global__ void sample_weigh_kernel(const uint32_t* keys, int32_t n, float temperature,
                                    double* weights) {
  const auto i = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (i >= n) return;
  const double below = __dsub_rn(double{logit_of(keys[i])}, double{logit_of(keys[0])});
  weights[i] = exp_portable(__ddiv_rn(below, double{temperature}));
}

__device__ uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

/// winnow::uniform.
__device__ double uniform(uint64_t seed, uint64_t step) {
  constexpr uint64_t kGoldenRatio = 0x9E3779B97F4A7C15U;
  const uint64_t stream = mix(seed + kGoldenRatio);
  const uint64_t bits = mix(stream + step * kGoldenRatio);
  return __dmul_rn(static_cast<double>(bits >> 11), 0x1p-53);
}

/// Thread 0 calls visit(i, value(i)) for i = 0, 1, ... below n, in this order, until it returns
/// false. All threads of the block compute the values, a block's worth at a time.
template <class Value, class Visit>
__device__ void in_order(int32_t n, Value value, Visit visit) {
  __shared__ double values[kDrawThreads];
  for (int32_t first = 0; first < n; first += kDrawThreads) {
    const auto mine = first + static_cast<int32_t>(threadIdx.x);
    if (mine < n) values[threadIdx.x] = value(mine);
    __syncthreads();
    bool more = true;
    if (threadIdx.x == 0) {
      const int32_t count = min(n - first, kDrawThreads);
#pragma unroll 8
      for (int32_t j = 0; j < count && more; ++j) more = visit(first + j, values[j]);
    }
    if (__syncthreads_and(more) == 0) return;
  }
}

/// What a draw reads.
struct Draw {
  const uint32_t* keys;   // [n], sorted
  const int32_t* ids;     // [n], of the keys
  const double* weights;  // [n]
  int32_t n;              // candidates: all, or the k greatest
  SamplerOptions options;
};

/// How many candidates top-p leaves: the shortest prefix that holds the share p of all weights.
/// Each of these functions is called by the whole block and gives every thread the result.
__device__ int32_t count_top_p(const Draw& draw) {
  __shared__ int32_t count;
  if (draw.options.top_p >= 1) return draw.n;
  const auto weight = [&](int32_t i) { return draw.weights[i]; };
  double sum = 0;
  in_order(draw.n, weight, [&](int32_t, double w) {
    sum = __dadd_rn(sum, w);
    return true;
  });
  const double enough = __dmul_rn(double{draw.options.top_p}, sum);  // of thread 0
  double reached = 0;
  if (threadIdx.x == 0) count = draw.n;
  in_order(draw.n, weight, [&](int32_t i, double w) {
    if (i > 0 && reached >= enough) {
      count = i;
      return false;
    }
    reached = __dadd_rn(reached, w);
    return true;
  });
  __syncthreads();
  return count;
}

/// The index of the candidate that is drawn among the first `n`, in thread 0. Weights of 0 and what
/// min-p removes are passed over; the last of the others is taken where rounding leaves a gap below
/// 1.
__device__ int32_t draw_index(const Draw& draw, int32_t n, double drawn) {
  __shared__ double total;
  const double least = __dmul_rn(fmin(double{draw.options.min_p}, 1.0), draw.weights[0]);
  const bool min_p = draw.options.min_p > 0;
  const auto weight = [&](int32_t i) {
    const double w = draw.weights[i];
    return min_p && w < least ? 0.0 : w;
  };
  double sum = 0;
  in_order(n, weight, [&](int32_t, double w) {
    sum = __dadd_rn(sum, w);
    return true;
  });
  if (threadIdx.x == 0) total = sum;
  __syncthreads();

  double reached = 0;
  int32_t index = 0;
  const auto probability = [&](int32_t i) { return __ddiv_rn(weight(i), total); };
  in_order(n, probability, [&](int32_t i, double p) {
    if (p == 0) return true;
    reached = __dadd_rn(reached, p);
    index = i;
    return drawn >= reached;
  });
  return index;
}

__global__ void __launch_bounds__(kDrawThreads)
    sample_draw_kernel(Draw draw, StepState state, DrawnSlots drawn) {
  if (*state.stopped != 0) return;
  const LogitsFault fault = fault_of(draw.keys[0]);
  if (fault != LogitsFault::kNone) {
    __syncthreads();  // all have read `stopped` before it changes
    if (threadIdx.x == 0) stop_at_fault(state, draw.ids[0], fault, drawn);
    return;
  }
  const double number = uniform(draw.options.seed, static_cast<uint64_t>(*state.n_sampled));
  const int32_t n = count_top_p(draw);
  const int32_t index = draw_index(draw, n, number);
  if (threadIdx.x == 0) take_token(state, draw.ids[index], drawn);
}

// ---- memory ----

/// SampleArgs::workspace, cut up. The greedy search uses `weights` for its parts.
struct Workspace {
  double* weights;  // [max(n, kParts)]
  uint32_t* keys;   // [n]
  uint32_t* sorted_keys;
  int32_t* ids;
  int32_t* sorted_ids;
  void* sort;
  size_t sort_bytes;
  uint64_t bytes;  // of all
};

size_t sort_bytes(int32_t n) {
  size_t bytes = 0;
  check_cuda(cub::DeviceRadixSort::SortPairs(
                 nullptr, bytes, static_cast<uint32_t*>(nullptr), static_cast<uint32_t*>(nullptr),
                 static_cast<int32_t*>(nullptr), static_cast<int32_t*>(nullptr), n),
             "sort logits");
  return bytes;
}

/// `memory` may be null, to learn the number of bytes.
Workspace cut(void* memory, int32_t n, size_t n_sort_bytes) {
  constexpr uint64_t kAlignment = 256;
  uint64_t used = 0;
  const auto take = [&](uint64_t bytes) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory) + used;
    used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  };
  const auto words = static_cast<uint64_t>(n) * 4;
  Workspace space{};
  space.weights =
      reinterpret_cast<double*>(take(static_cast<uint64_t>(n > kParts ? n : kParts) * 8));
  space.keys = reinterpret_cast<uint32_t*>(take(words));
  space.sorted_keys = reinterpret_cast<uint32_t*>(take(words));
  space.ids = reinterpret_cast<int32_t*>(take(words));
  space.sorted_ids = reinterpret_cast<int32_t*>(take(words));
  space.sort = reinterpret_cast<void*>(take(n_sort_bytes));
  space.sort_bytes = n_sort_bytes;
  space.bytes = used;
  return space;
}

void take_greatest(const SampleArgs& args, const Logits& logits, Stream stream) {
  auto* least = static_cast<uint64_t*>(args.workspace);  // [kParts]
  launch_early({.grid = kParts, .block = kThreads, .stream = stream}, "sample: least keys",
               sample_least_keys_kernel, logits, least);
  launch_early({.grid = 1, .block = kParts, .stream = stream}, "sample: take least",
               sample_take_least_kernel, least, args.state, args.drawn);
}

void draw(const SampleArgs& args, const Logits& logits, Stream stream) {
  Workspace space = cut(args.workspace, args.n_ids, sort_bytes(args.n_ids));
  const int32_t top_k = args.options.top_k;
  const int32_t n = top_k > 0 && top_k < args.n_ids ? top_k : args.n_ids;

  sample_make_keys_kernel<<<grid_size(ceil_div(args.n_ids, kThreads)), kThreads, 0, stream>>>(
      logits, space.keys, space.ids);
  check_launch("sample: make keys");
  check_cuda(
      cub::DeviceRadixSort::SortPairs(space.sort, space.sort_bytes, space.keys, space.sorted_keys,
                                      space.ids, space.sorted_ids, args.n_ids, 0, 32, stream),
      "sort logits");
  sample_weigh_kernel<<<grid_size(ceil_div(n, kThreads)), kThreads, 0, stream>>>(
      space.sorted_keys, n, args.options.temperature, space.weights);
  check_launch("sample: weigh");
  const Draw request = {space.sorted_keys, space.sorted_ids, space.weights, n, args.options};
  sample_draw_kernel<<<1, kDrawThreads, 0, stream>>>(request, args.state, args.drawn);
  check_launch("sample: draw");
}

}  // namespace

uint64_t sample_workspace_bytes(int32_t n_ids) {
  return cut(nullptr, n_ids, sort_bytes(n_ids)).bytes;
}

void sample(const SampleArgs& args, Stream stream) {
  const Logits logits = {args.logits, args.state.seen, args.options.repeat_penalty, args.n_ids};
  if (args.options.temperature == 0) {
    take_greatest(args, logits, stream);
  } else {
    draw(args, logits, stream);
  }
}

}  // namespace winnow::cuda
