// What families and RoPE scalings add to the GPU's kernels, against the CPU device: norms of heads,
// biases, scaled and growing frequencies, windows.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/kernels.h"
#include "src/cpu/ops.h"
#include "src/cpu/winnow.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/support/window_layer.h"

using namespace winnow;
using namespace winnow::test;

namespace {

std::vector<ModelConfig> head_shapes() {
  return {attention_shape(1, 1, 2),  attention_shape(4, 2, 6),   attention_shape(8, 1, 20),
          attention_shape(6, 2, 64), attention_shape(4, 4, 128), attention_shape(9, 3, 80),
          attention_shape(3, 1, 256)};
}

/// q, k and v with bias, q and k normed; the CPU's in place.  qkv [n, qkv_size]
void norm_on_cpu(const ModelConfig& c, const float* bias, const std::vector<float>& q_norm,
                 const std::vector<float>& k_norm, int64_t n, std::vector<float>& qkv) {
  if (bias != nullptr) cpu::add_bias(bias, n, c.qkv_size(), qkv.data());
  for (int64_t i = 0; i < n; ++i) {
    float* q = &qkv[size_t(i * c.qkv_size())];
    float* k = q + c.q_size();
    cpu::rmsnorm(q, q_norm.data(), 1e-3F, c.n_heads, c.head_dim, q);
    cpu::rmsnorm(k, k_norm.data(), 1e-3F, c.n_kv_heads, c.head_dim, k);
  }
}

/// The kernel's q, k and v after a step at `place` of a text whose frequencies are `frequencies`,
/// as floats: q, then k, then v.
std::vector<float> rope_on_gpu(const ModelConfig& c, DType type, const Stored& qkv,
                               const std::vector<float>& bias, int32_t place,
                               const RopeFrequencies& frequencies) {
  const TestLayer empty(c, std::vector<int32_t>(size_t(c.n_kv_heads), 0), 1);
  const GpuLayer rows(empty, type);
  const DeviceBuffer in(qkv.bytes), gpu_bias(raw_bytes(bias));
  const DeviceBuffer position(raw_bytes(std::vector<int32_t>{place}));
  const DeviceBuffer q(size_t(c.q_size()) * dtype_size(type));
  Batch batch;
  batch.n = 1;
  batch.position = position.as<int32_t>();
  cuda::RopeArgs args;
  args.type = type;
  args.qkv_type = DType::kF32;
  args.qkv = in.data();
  args.bias = bias.empty() ? nullptr : gpu_bias.as<float>();
  args.q = q.data();
  args.batch = batch;
  args.heads = cuda::heads_of(c);
  args.kv = rows.view();
  cuda::rope_and_store(args, frequencies, nullptr);
  std::vector<float> out = q.floats(type);
  for (const DeviceBuffer* kv : {&rows.k, &rows.v}) {
    const std::vector<float> all = rows.numbers(*kv, type);
    for (const int64_t first : empty.first) {
      const auto at = all.begin() + first * c.head_dim;
      out.insert(out.end(), at, at + c.head_dim);
    }
  }
  return out;
}

std::vector<float> rope_on_cpu(const ModelConfig& c, std::vector<float> qkv,
                               const std::vector<float>& bias, int32_t place,
                               const RopeFrequencies& frequencies) {
  if (!bias.empty()) cpu::add_bias(bias.data(), 1, c.qkv_size(), qkv.data());
  std::vector<float> angles(static_cast<size_t>(c.head_dim));
  cpu::rope_angles(place, frequencies, c.head_dim, angles.data());
  cpu::rope(qkv.data(), angles.data(), c.n_heads + c.n_kv_heads, c.head_dim, qkv.data());
  return qkv;
}

/// Attention of n new rows behind held ones in a window, by one of the kernels.
std::vector<float> attention_on_gpu(TestLayer& layer, DType type, const Stored& q, int64_t n,
                                    int64_t window, bool prefill) {
  const cuda::Heads heads = cuda::heads_of(layer.config);
  const GpuLayer rows(layer, type);
  const DeviceBuffer query(q.bytes), out(q.bytes.size());
  const DeviceBuffer workspace(cuda::attention_decode_workspace_bytes(heads, n));
  cuda::AttentionArgs args;
  args.type = type;
  args.n = n;
  args.q = query.data();
  args.out = out.data();
  args.workspace = workspace.data();
  args.heads = heads;
  args.kv = rows.view();
  args.kv.capacity += n;
  args.kv.window = window;
  args.gpu = cuda::current_gpu();
  prefill ? cuda::attention_prefill(args, nullptr) : cuda::attention_decode(args, nullptr);
  (void)workspace.download();
  return out.floats(type);
}

}  // namespace

TEST_CASE("GPU: heads of q and k are normed in place, after the bias, and v gets its bias") {
  NEEDS_GPU();
  for (const ModelConfig& c : head_shapes()) {
    for (const int64_t n : {1, 7}) {
      for (const bool has_bias : {false, true}) {
        CAPTURE(c.head_dim);
        CAPTURE(has_bias);
        std::vector<float> qkv = random_floats(n * c.qkv_size(), 1, 2);
        const std::vector<float> bias = random_floats(c.qkv_size(), 2);
        const std::vector<float> q_norm = random_floats(c.head_dim, 3);
        const std::vector<float> k_norm = random_floats(c.head_dim, 4);
        const DeviceBuffer gpu(raw_bytes(qkv)), gpu_bias(raw_bytes(bias));
        const DeviceBuffer gpu_q(raw_bytes(q_norm)), gpu_k(raw_bytes(k_norm));
        cuda::norm_heads({.type = DType::kF32,
                          .qkv = gpu.data(),
                          .n = n,
                          .heads = cuda::heads_of(c),
                          .bias = has_bias ? gpu_bias.as<float>() : nullptr,
                          .q_norm = gpu_q.as<float>(),
                          .k_norm = gpu_k.as<float>(),
                          .eps = 1e-3F},
                         nullptr);
        norm_on_cpu(c, has_bias ? bias.data() : nullptr, q_norm, k_norm, n, qkv);
        CHECK(nmse(gpu.floats(DType::kF32), qkv) < 1e-12);
      }
    }
  }
}

TEST_CASE("GPU: a bias is added to every row") {
  NEEDS_GPU();
  for (const int64_t size : {1, 24, 255, 256, 257, 5000}) {
    std::vector<float> x = random_floats(3 * size, 5);
    const std::vector<float> bias = random_floats(size, 6);
    const DeviceBuffer gpu(raw_bytes(x)), gpu_bias(raw_bytes(bias));
    cuda::add_bias(gpu_bias.as<float>(), 3, size, gpu.as<float>(), nullptr);
    cpu::add_bias(bias.data(), 3, size, x.data());
    CHECK(gpu.floats(DType::kF32) == x);
  }
}

TEST_CASE("GPU: rope adds a bias, scales its angles' cosines, and grows with the text") {
  NEEDS_GPU();
  for (ModelConfig c : head_shapes()) {
    c.max_positions = 100;
    for (const RopeType kind : {RopeType::kDefault, RopeType::kYarn, RopeType::kDynamic}) {
      if (kind == RopeType::kDynamic && c.head_dim == 2) continue;
      c.rope = {.type = kind, .factor = 4, .original_positions = 100, .attention_factor = 1.25};
      for (const DType type : kTypes) {
        for (const int32_t place : {0, 99, 100, 4000}) {
          CAPTURE(c.head_dim);
          CAPTURE(int(kind));
          CAPTURE(place);
          const Stored qkv(DType::kF32, random_floats(c.qkv_size(), 7, 2));
          const bool has_bias = place != 99;
          const std::vector<float> bias =
              has_bias ? random_floats(c.qkv_size(), 8) : std::vector<float>{};
          const std::vector<float> expected =
              rope_on_cpu(c, qkv.values, bias, place, rope_frequencies(c, place + 1));
          const auto step = rope_on_gpu(c, type, qkv, bias, place, rope_frequencies(c, 0));
          CHECK(nmse(step, expected) < tolerance(type));
          const auto prompt =
              rope_on_gpu(c, type, qkv, bias, place, rope_frequencies(c, place + 1));
          CHECK(nmse(prompt, expected) < tolerance(type));
        }
      }
    }
  }
}

TEST_CASE("GPU: attention in a window equals the CPU's, few rows and many") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    for (const DType type : kTypes) {
      for (const int32_t n : {1, 3, 70}) {
        for (const int64_t window : {1, 33, 500, 100'000}) {
          CAPTURE(std::string(dtype_name(type)));
          CAPTURE(c.head_dim);
          CAPTURE(n);
          CAPTURE(window);
          std::vector<int32_t> held(size_t(c.n_kv_heads), 40);
          held[0] = 777;
          TestLayer layer = window_layer(c, held, n, 9);
          round_to(type, layer);
          const Stored q(type, random_floats(n * c.q_size(), 10, 2));
          std::vector<float> expected = poisoned(n * c.q_size());
          KvRows kv = layer.view();
          kv.window = window;
          cpu::attention(c, n, q.values.data(), kv, expected.data());
          CHECK(nmse(attention_on_gpu(layer, type, q, n, window, true), expected) <
                tolerance(type));
          if (n > 5) continue;
          CHECK(nmse(attention_on_gpu(layer, type, q, n, window, false), expected) <
                tolerance(type));
        }
      }
    }
  }
}

TEST_CASE("GPU: scores of rows that the last token's window hides are -infinity") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    for (const int64_t window : {1, 50, 100'000}) {
      CAPTURE(c.head_dim);
      CAPTURE(window);
      std::vector<int32_t> held(size_t(c.n_kv_heads), 6);
      held[0] = 700;
      TestLayer layer = window_layer(c, held, 1, 11);
      for (int32_t& rows : held) rows += 1;
      const TestZones zones(held);
      const Stored q(DType::kF32, random_floats(c.q_size(), 12, 2));
      TestLists expected(c.n_heads, 701);
      const GpuLists lists(expected);
      KvRows kv = layer.view();
      kv.window = window;
      cpu::attention_scores(c, q.values.data(), kv, zones.view(), expected.view());
      const GpuLayer rows(layer, DType::kF32);
      const GpuZones gpu_zones(zones);
      const DeviceBuffer query(q.bytes);
      KvRows gpu_kv = rows.view();
      gpu_kv.window = window;
      cuda::attention_scores(query.data(), gpu_kv, cuda::heads_of(c), DType::kF32, gpu_zones.view(),
                             lists.view(), nullptr);
      CHECK(nmse_of_finite(lists.score.values<float>(), expected.score) < 1e-11);
    }
  }
}
