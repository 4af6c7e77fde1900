// The fast decode attention against the formula in double precision, and its life in a graph: rows
// ragged over heads, any group, masks, counts that change under one launch.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <optional>

#include "cuda/graph.h"
#include "cuda/kernels.h"
#include "tests/gpu/draw_buffers.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr DType kFastTypes[] = {DType::kF16, DType::kBF16};
constexpr int64_t kFastHeadDims[] = {64, 128};
constexpr int64_t kRoomy = 1'000'000;  // capacity that the launch is sized for

/// Rows of a layer; batch row i of n sees held[h] - (n - 1) + i of head h's.
TestLayer make_layer(const ModelConfig& config, DType type, int64_t n,
                     const std::vector<int32_t>& held, uint64_t seed) {
  TestLayer layer(config, held, 3, seed);
  for (int32_t& rows : layer.visible) rows -= static_cast<int32_t>(n);
  round_to(type, layer);
  return layer;
}

Stored make_q(const ModelConfig& c, DType type, int64_t n, uint64_t seed) {
  return Stored(type, random_floats(n * c.q_size(), seed, 2));
}

/// softmax(q k^T / sqrt(head_dim)) v of one query head.  q, out [head_dim]
void naive_head(const TestLayer& layer, int64_t head, int64_t visible, const float* q,
                double* out) {
  const int64_t d = layer.config.head_dim;
  const int64_t first = layer.first[size_t(head / layer.config.group())];
  std::vector<double> weight(size_t(visible), -INFINITY);
  double max = -INFINITY;
  for (int64_t r = 0; r < visible; ++r) {
    if (!layer.sees(head, r)) continue;
    double score = 0;
    for (int64_t e = 0; e < d; ++e) score += double{q[e]} * layer.k[size_t((first + r) * d + e)];
    weight[size_t(r)] = score / std::sqrt(double(d));
    max = std::max(max, weight[size_t(r)]);
  }
  double sum = 0;
  for (double& w : weight) {
    w = w == -INFINITY ? 0 : std::exp(w - max);
    sum += w;
  }
  for (int64_t r = 0; r < visible; ++r) {
    if (weight[size_t(r)] == 0) continue;
    const float* v = &layer.v[size_t((first + r) * d)];
    for (int64_t e = 0; e < d; ++e) out[e] += weight[size_t(r)] / sum * v[e];
  }
}

std::vector<double> naive(const TestLayer& layer, const Stored& q, int64_t n) {
  const ModelConfig& c = layer.config;
  std::vector<double> out(q.values.size(), 0.0);
#pragma omp parallel for collapse(2)
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t head = 0; head < c.n_heads; ++head) {
      const size_t at = size_t((i * c.n_heads + head) * c.head_dim);
      const int64_t visible = layer.visible[size_t(head / c.group())] + i;
      naive_head(layer, head, visible, &q.values[at], &out[at]);
    }
  }
  return out;
}

/// A layer on the GPU with all that the kernel needs. The workspace belongs to the plain kernel.
struct Attention {
  Attention(const TestLayer& layer, const Stored& queries, DType row_type, int64_t rows,
            const DeviceBuffer* shared_exchange = nullptr)
      : type(row_type),
        n(rows),
        heads(cuda::heads_of(layer.config)),
        kv(layer, row_type),
        q(queries.bytes),
        out(queries.bytes.size()),
        workspace(cuda::attention_decode_workspace_bytes(heads, n)) {
    if (shared_exchange == nullptr) {
      own.emplace(cuda::attention_decode_exchange_bytes(heads, n, cuda::current_gpu()));
    }
    exchange = shared_exchange == nullptr ? &*own : shared_exchange;
  }

  void run(bool fast, int64_t capacity = kRoomy, cuda::Stream stream = nullptr) const {
    cuda::AttentionArgs args{.type = type,
                             .n = n,
                             .q = q.data(),
                             .out = out.data(),
                             .workspace = workspace.data(),
                             .exchange = fast ? exchange->data() : nullptr,
                             .heads = heads,
                             .kv = kv.view(),
                             .gpu = cuda::current_gpu()};
    args.kv.capacity = capacity;
    cuda::attention_decode(args, stream);
  }

  DType type;
  int64_t n;
  cuda::Heads heads;
  GpuLayer kv;
  DeviceBuffer q, out, workspace;
  std::optional<DeviceBuffer> own;
  const DeviceBuffer* exchange;
};

bool is_untouched(const DeviceBuffer& buffer) {
  const std::string content = buffer.download();
  return content == std::string(content.size(), '\xff');
}

/// Twice, for launches of two sizes. That the plain kernel did not run is seen by its workspace.
void check(const TestLayer& layer, DType type, int64_t n) {
  CAPTURE(std::string(dtype_name(type)));
  CAPTURE(layer.config.n_heads);
  CAPTURE(layer.config.n_kv_heads);
  CAPTURE(layer.config.head_dim);
  CAPTURE(n);
  const Stored q = make_q(layer.config, type, n, 71);
  const Attention gpu(layer, q, type, n);
  const std::vector<double> expected = naive(layer, q, n);
  for (const int64_t capacity : {kRoomy, int64_t{most_of(layer.visible) + n}}) {
    CAPTURE(capacity);
    gpu.run(true, capacity);
    const std::string first = gpu.out.download();
    CHECK(nmse(gpu.out.floats(type), expected) < tolerance(type));
    CHECK(is_untouched(*gpu.exchange));
    gpu.run(true, capacity);
    CHECK(gpu.out.download() == first);
    CHECK(is_untouched(*gpu.exchange));
    CHECK(is_untouched(gpu.workspace));
  }
}

void check(const ModelConfig& config, int64_t n, const std::vector<int32_t>& held, uint64_t seed) {
  for (const DType type : kFastTypes) check(make_layer(config, type, n, held, seed), type, n);
}

}  // namespace

TEST_CASE("GPU: fast decode attention equals the formula: any group, one row and a few") {
  NEEDS_GPU();
  for (const int64_t head_dim : kFastHeadDims) {
    for (const int64_t group : {1, 2, 3, 4, 7, 8, 12, 32}) {
      for (const int64_t n : {1, 2, 3, 4}) {
        check(attention_shape(3 * group, 3, head_dim), n, {703, 4, 65}, uint64_t(group));
      }
    }
  }
}

TEST_CASE("GPU: fast decode attention over rows that are ragged, lopsided or not there") {
  NEEDS_GPU();
  const std::vector<std::vector<int32_t>> cases = {{1, 17, 100, 2048, 5000, 3000, 777, 129},
                                                   {3, 3, 3, 3, 3, 3, 3, 20'000},
                                                   {0, 0, 0, 0, 0, 0, 0, 0},
                                                   {0, 1, 0, 0, 64, 0, 65, 0},
                                                   std::vector<int32_t>(8, 128),
                                                   std::vector<int32_t>(8, 2048),
                                                   std::vector<int32_t>(8, 2049),
                                                   {100'003},
                                                   std::vector<int32_t>(40, 70),
                                                   std::vector<int32_t>(64, 33),
                                                   {15, 16, 17, 31, 32, 33, 63, 64, 65, 127},
                                                   {70'000, 1}};
  for (const std::vector<int32_t>& held : cases) {
    for (const int64_t head_dim : kFastHeadDims) {
      const auto n_kv_heads = int64_t(held.size());
      check(attention_shape(2 * n_kv_heads, n_kv_heads, head_dim), 1, held, 3);
    }
  }
}

TEST_CASE("GPU: fast decode attention over rings, and rows that few see or nobody") {
  NEEDS_GPU();
  for (const DType type : kFastTypes) {
    for (const int64_t head_dim : kFastHeadDims) {
      TestLayer layer =
          make_layer(attention_shape(16, 4, head_dim), type, 1, {900, 64, 1, 3000}, 5);
      layer.ring_rows[0] = 100;
      layer.slot[0] = 850;
      TestRandom random(6);
      for (uint32_t& mask : layer.mask) mask = draw(random, 8) == 0 ? bits(random) : 0;
      check(layer, type, 1);
      for (uint32_t& mask : layer.mask) mask &= 0xfffffffdU;  // query head 1 of a group: nothing
      check(layer, type, 1);
      const Stored q = make_q(layer.config, type, 1, 71);
      const Attention gpu(layer, q, type, 1);
      gpu.run(true);
      const std::vector<float> out = gpu.out.floats(type);
      for (size_t at = 0; at < out.size(); ++at) {
        if (at / size_t(head_dim) % 4 == 1) CHECK(out[at] == 0);
      }
    }
  }
}

TEST_CASE("GPU: fast decode attention sums up in the same order every time") {
  NEEDS_GPU();
  const ModelConfig config = attention_shape(32, 8, 128);
  const TestLayer layer = make_layer(config, DType::kBF16, 1, std::vector<int32_t>(8, 2500), 7);
  const Stored q = make_q(config, DType::kBF16, 1, 8);
  const Attention gpu(layer, q, DType::kBF16, 1);
  gpu.run(true);
  const std::string first = gpu.out.download();
  for (int i = 0; i < 500; ++i) gpu.run(true);
  CHECK(gpu.out.download() == first);
  CHECK(is_untouched(*gpu.exchange));
}

// Two layers in a chain share the exchange, and the counts grow between the steps. Each step is
// held against a launch of its own over the same counts.
TEST_CASE("GPU: fast decode attention in a graph follows the counts, to the bit") {
  NEEDS_GPU();
  const ModelConfig config = attention_shape(8, 2, 128);
  const int32_t begin[] = {60, 2040, 1, 700};  // rows of both layers' heads
  constexpr int32_t kSteps = 40, kJump = 900;
  std::vector<TestLayer> layers;
  for (uint64_t l = 0; l < 2; ++l) {
    const int32_t most = kSteps + kJump;
    layers.push_back(make_layer(config, DType::kBF16, 1,
                                {begin[2 * l] + most, begin[2 * l + 1] + most}, 20 + l));
  }
  const Stored q = make_q(config, DType::kBF16, 1, 9);
  const DeviceBuffer exchange(
      cuda::attention_decode_exchange_bytes(cuda::heads_of(config), 1, cuda::current_gpu()));
  const Attention a(layers[0], q, DType::kBF16, 1, &exchange);
  const Attention b(layers[1], q, DType::kBF16, 1, &exchange);
  const DeviceBuffer position(raw_bytes(std::vector<int32_t>{0}));
  const DrawBuffers draws;
  cudaStream_t stream = nullptr;
  cuda::check_cuda(cudaStreamCreate(&stream), "make a stream");
  const auto recording = cuda::make_recording(
      [&] {
        for (const Attention* layer : {&a, &b}) {
          const GpuLayer& kv = layer->kv;
          cuda::advance({.position = position.as<int32_t>(),
                         .stopped = draws.stopped.as<int32_t>(),
                         .slot = kv.slot.as<int32_t>(),
                         .visible = kv.visible.as<int32_t>(),
                         .ring_rows = kv.ring_rows.as<int32_t>(),
                         .n_counts = 2},
                        stream);
          layer->run(true, kRoomy, stream);
        }
        a.run(true, kRoomy, stream);  // straight after another of its kind
      },
      stream, true);
  std::vector<int32_t> rows(begin, begin + 4);
  const auto set = [&](const Attention& at, const int32_t* counts) {
    cuda::check_cuda(cudaMemcpy(at.kv.visible.data(), counts, 8, cudaMemcpyHostToDevice), "set");
  };
  set(a, &rows[0]);
  set(b, &rows[2]);
  for (int32_t step = 0; step < kSteps; ++step) {
    recording->run();
    cuda::check_cuda(cudaStreamSynchronize(stream), "run");
    for (int32_t& n : rows) n += 1;
    for (size_t l = 0; l < 2; ++l) {
      TestLayer now = layers[l];
      now.visible.assign(&rows[2 * l], &rows[2 * l] + 2);
      const Attention& in_graph = l == 0 ? a : b;
      const Attention alone(now, q, DType::kBF16, 1);
      alone.run(true);
      CHECK(in_graph.out.download() == alone.out.download());
      CHECK(in_graph.kv.visible.values<int32_t>() == now.visible);
      if (step % 8 == 0) {
        CHECK(nmse(in_graph.out.floats(DType::kBF16), naive(now, q, 1)) < tolerance(DType::kBF16));
      }
    }
    if (step == kSteps / 2) {
      for (int32_t& n : rows) n += kJump;
      set(a, &rows[0]);
      set(b, &rows[2]);
    }
  }
  CHECK(is_untouched(exchange));
  CHECK(is_untouched(a.workspace));
  (void)cudaStreamDestroy(stream);
}
