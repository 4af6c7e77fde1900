// The fused norm + q, k, v + bias + rope + cache row against exact sums and cpu::rope, and against
// the plain steps: all head sizes, groups, rings; what no row becomes must stay poisoned.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cuda/gemv_fused.h"
#include "src/cpu/ops.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kEps = 1e-6F;

/// Heads that hold 0, 3, 6, ... rows take one more.
struct QkvCase {
  TestLayer layer;
  DType type;
  int64_t hidden;
  int32_t position;
  Stored w;
  std::vector<float> x, norm, bias;  // bias: empty where there is none

  QkvCase(const ModelConfig& c, DType t, int64_t hidden_size, int32_t place, bool with_bias)
      : layer(c, held_rows(c), 2),
        type(t),
        hidden(hidden_size),
        position(place),
        w(t, random_floats(c.qkv_size() * hidden_size, 31)),
        x(random_floats(hidden_size, 32, 3)),
        norm(random_floats(hidden_size, 33)),
        bias(with_bias ? random_floats(c.qkv_size(), 34, 4) : std::vector<float>()) {}

  static std::vector<int32_t> held_rows(const ModelConfig& c) {
    std::vector<int32_t> held;
    for (int64_t h = 0; h < c.n_kv_heads; ++h) held.push_back(int32_t(h * 3));
    return held;
  }
  void make_rings() {
    for (size_t h = 1; h < layer.slot.size(); ++h) {
      const int32_t rows = layer.slot[h] - 1;
      layer.make_ring(h, rows, int32_t(h) % rows);
    }
  }

  /// rmsnorm(x) W^T + bias  [qkv_size]
  std::vector<float> exact_qkv() const {
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    const double root = std::sqrt(squares / double(hidden) + double{kEps});
    std::vector<float> qkv;
    for (int64_t o = 0; o < layer.config.qkv_size(); ++o) {
      double sum = bias.empty() ? 0 : bias[size_t(o)];
      for (int64_t j = 0; j < hidden; ++j) {
        sum += x[size_t(j)] / root * norm[size_t(j)] * w.values[size_t(o * hidden + j)];
      }
      qkv.push_back(float(sum));
    }
    return qkv;
  }
};

/// What must be there afterwards: `layer` changes, and q [n_heads, head_dim] is returned.
std::vector<float> expect(QkvCase& c) {
  const ModelConfig& shape = c.layer.config;
  const int64_t d = shape.head_dim;
  const std::vector<float> qkv = c.exact_qkv();
  std::vector<float> angles(static_cast<size_t>(d)), q(size_t(shape.q_size()));
  cpu::rope_angles(c.position, rope_frequencies(shape.rope_theta, d), d, angles.data());
  cpu::rope(qkv.data(), angles.data(), shape.n_heads, d, q.data());
  for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
    const int64_t entry = c.layer.first[size_t(h)] + c.layer.slot[size_t(h)];
    const float* k = &qkv[size_t(shape.q_size() + h * d)];
    cpu::rope(k, angles.data(), 1, d, &c.layer.k[size_t(entry * d)]);
    std::copy_n(k + shape.kv_size(), d, &c.layer.v[size_t(entry * d)]);
    c.layer.position[size_t(entry)] = c.position;
    c.layer.mask[size_t(entry)] = kSeenByAll;
  }
  return q;
}

/// What a run leaves: q and the layer's rows.
struct Result {
  Result(const QkvCase& c)
      : rows(c.layer, c.type), q(size_t(c.layer.config.q_size()) * dtype_size(c.type)) {}
  GpuLayer rows;
  DeviceBuffer q;
};

/// The device's side of a case.
struct OnGpu {
  explicit OnGpu(const QkvCase& c)
      : w(c.w.bytes),
        x(raw_bytes(c.x)),
        norm(raw_bytes(c.norm)),
        bias(raw_bytes(c.bias)),
        position(raw_bytes(std::vector<int32_t>{c.position})) {}

  void fused(const QkvCase& c, const Result& to, const cuda::GemvPlan& plan) const {
    const ModelConfig& shape = c.layer.config;
    cuda::gemv_qkv({.w = {w.data(), c.type, shape.qkv_size(), c.hidden},
                    .bias = c.bias.empty() ? nullptr : bias.as<float>(),
                    .in = {x.as<float>(), norm.as<float>(), kEps},
                    .position = position.as<int32_t>(),
                    .q = to.q.data(),
                    .heads = cuda::heads_of(shape),
                    .kv = to.rows.view()},
                   rope_frequencies(shape.rope_theta, shape.head_dim), plan, nullptr);
  }

  /// Without a bias, which the plain steps of this test do not add.
  void plain(const QkvCase& c, const Result& to) const {
    const ModelConfig& shape = c.layer.config;
    const DeviceBuffer normed(size_t(c.hidden) * dtype_size(c.type));
    const DeviceBuffer qkv(size_t(shape.qkv_size()) * 4);
    cuda::rmsnorm(x.as<float>(), norm.as<float>(), kEps, 1, c.hidden, normed.data(), c.type,
                  nullptr);
    cuda::gemv({w.data(), c.type, shape.qkv_size(), c.hidden}, normed.data(), 1, qkv.data(),
               DType::kF32, false, nullptr);
    const Batch batch{.n = 1, .position = position.as<int32_t>()};
    cuda::rope_and_store({.type = c.type,
                          .qkv_type = DType::kF32,
                          .qkv = qkv.data(),
                          .q = to.q.data(),
                          .batch = batch,
                          .heads = cuda::heads_of(shape),
                          .kv = to.rows.view()},
                         rope_frequencies(shape.rope_theta, shape.head_dim), nullptr);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  }

  DeviceBuffer w, x, norm, bias, position;
};

void check(QkvCase c, const cuda::GemvPlan& plan) {
  CAPTURE(std::string(dtype_name(c.type)));
  CAPTURE(c.layer.config.head_dim);
  CAPTURE(c.hidden);
  CAPTURE(c.position);
  const OnGpu gpu(c);
  const Result once(c), twice(c), plain(c);
  gpu.fused(c, once, plan);
  gpu.fused(c, twice, plan);
  CHECK(once.q.download() == twice.q.download());
  CHECK(once.rows.k.download() == twice.rows.k.download());
  CHECK(once.rows.v.download() == twice.rows.v.download());
  const std::vector<float> q = once.q.floats(c.type);
  const std::vector<float> k = once.rows.numbers(once.rows.k, c.type);
  const std::vector<float> v = once.rows.numbers(once.rows.v, c.type);
  if (c.bias.empty()) {
    gpu.plain(c, plain);
    CHECK(nmse(q, plain.q.floats(c.type)) < 10 * tolerance(c.type));
    CHECK(nmse_of_finite(k, plain.rows.numbers(plain.rows.k, c.type)) < 10 * tolerance(c.type));
    CHECK(nmse_of_finite(v, plain.rows.numbers(plain.rows.v, c.type)) < 10 * tolerance(c.type));
  }
  const std::vector<float> expected_q = expect(c);
  CHECK(nmse(q, expected_q) < tolerance(c.type));
  CHECK(nmse_of_finite(k, c.layer.k) < tolerance(c.type));
  CHECK(nmse_of_finite(v, c.layer.v) < tolerance(c.type));
  CHECK(once.rows.position.values<int32_t>() == c.layer.position);
  CHECK(once.rows.mask.values<uint32_t>() == c.layer.mask);
}

}  // namespace

TEST_CASE("GPU: fused q, k and v equal exact sums, turned and put into their rows") {
  NEEDS_GPU();
  const ModelConfig shapes[] = {attention_shape(8, 2, 64),  attention_shape(6, 1, 80),
                                attention_shape(4, 2, 96),  attention_shape(5, 5, 128),
                                attention_shape(14, 2, 10), attention_shape(1, 1, 2),
                                attention_shape(3, 3, 256)};
  const cuda::GemvPlan plans[] = {{2, 24, 8, 132}, {2, 8, 8, 3}, {2, 10, 16, 7}};
  for (const DType type : {DType::kF16, DType::kBF16}) {
    for (const ModelConfig& shape : shapes) {
      for (const int64_t hidden : {8, 264, 1032}) {
        for (const cuda::GemvPlan& plan : plans) {
          check(QkvCase(shape, type, hidden, 0, false), plan);
          check(QkvCase(shape, type, hidden, 1'000'003, true), plan);
          QkvCase ring(shape, type, hidden, 77, true);
          ring.make_rings();
          check(ring, plan);
        }
      }
    }
  }
}
