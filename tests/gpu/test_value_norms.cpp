// The GPU's norms of values against the CPU device, in all their ways, and the Gram matrices behind
// them.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cuda/value_norms.h"
#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/support/score_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using Way = bool (*)(const cuda::NormArgs& args, cuda::Stream stream);

bool value_norms_chosen(const cuda::NormArgs& a, cuda::Stream stream) {
  cuda::value_norms(a.w, a.kv, a.heads, a.type, a.zones, a.how, a.lists, stream);
  return true;
}

struct NormCase {
  NormCase(const ModelConfig& c, const std::vector<int32_t>& held, DType t, DType w, uint64_t seed)
      : layer(c, held, 1, seed),
        zones(held),
        output(c, 300, seed + 1),
        type(t),
        o_type(w),
        o(w, output.o) {
    round_to(type, layer);
    output.o = o.values;
  }

  TestLists poisoned_lists() const { return {layer.config.n_heads, zones.view().max_rows}; }

  std::vector<float> on_cpu(ValueNorm how) {
    TestLists lists = poisoned_lists();
    make_cpu_device(layer.config, 2)
        ->value_norms(output.view(), layer.view(), zones.view(), how, lists.view());
    return lists.score;
  }

  bool on_gpu(Way way, ValueNorm how, size_t shift, std::vector<float>& norms) const {
    const GpuLayer rows(layer, type, shift);
    const GpuLists lists(poisoned_lists());
    const GpuZones gpu_zones(zones);
    const DeviceBuffer matrix(o.bytes), factor(raw_bytes(output.factor));
    LayerWeights w;
    w.o = {.data = matrix.data(), .type = o_type, .rows = output.n_hidden, .cols = output.columns};
    w.o_factor = factor.as<float>();
    const bool applies = way({.w = w,
                              .kv = rows.view(),
                              .heads = cuda::heads_of(layer.config),
                              .type = type,
                              .zones = gpu_zones.view(),
                              .how = how,
                              .lists = lists.view()},
                             nullptr);
    norms = lists.score.values<float>();
    return applies;
  }

  void check(ValueNorm how) {
    CAPTURE(std::string(dtype_name(type)));
    CAPTURE(std::string(dtype_name(o_type)));
    CAPTURE(layer.config.n_heads);
    CAPTURE(layer.config.n_kv_heads);
    CAPTURE(layer.config.head_dim);
    CAPTURE(static_cast<int>(how));
    const std::vector<float> cpu = on_cpu(how);
    std::vector<float> norms, again;
    (void)on_gpu(value_norms_chosen, how, 0, norms);
    CHECK(nmse_of_finite(norms, cpu) < 1e-11);
    (void)on_gpu(value_norms_chosen, how, 0, again);
    CHECK(same(norms, again));
    (void)on_gpu(value_norms_chosen, how, dtype_size(type), again);  // no way of whole packs
    CHECK(nmse_of_finite(again, cpu) < 1e-11);
    if (how == ValueNorm::kValue) return;
    const int64_t d = layer.config.head_dim;
    const bool expected = type != DType::kF32 && (d == 64 || d == 128) &&
                          (how == ValueNorm::kOutput || type == o_type);
    CHECK(on_gpu(cuda::value_norms_mma, how, 0, again) == expected);
    CHECK(on_gpu(cuda::value_norms_plain, how, 0, again));
    CHECK(nmse_of_finite(again, cpu) < 1e-11);
  }

  TestLayer layer;
  TestZones zones;
  TestOutput output;
  DType type;
  DType o_type;
  Stored o;
};

constexpr ValueNorm kNorms[] = {ValueNorm::kValue, ValueNorm::kOutput, ValueNorm::kOutputL1};

}  // namespace

TEST_CASE("GPU: value norms equal the CPU's, of every shape and type") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : gpu_shapes()) {
      NormCase one(c, ragged_rows(c), type, type, 1);
      for (const ValueNorm how : kNorms) one.check(how);
    }
  }
}

TEST_CASE("GPU: value norms over rows that each block takes several times") {
  NEEDS_GPU();
  NormCase one(attention_shape(8, 2, 128), {40'003, 7'777}, DType::kBF16, DType::kBF16, 2);
  for (const ValueNorm how : kNorms) one.check(how);
  NormCase two(attention_shape(32, 1, 64), {20'003}, DType::kF16, DType::kF16, 3);
  for (const ValueNorm how : kNorms) two.check(how);
}

TEST_CASE("GPU: value norms where weights are of another type than rows") {
  NEEDS_GPU();
  for (const DType o_type : kTypes) {
    NormCase one(attention_shape(8, 2, 128), {500, 70}, DType::kBF16, o_type, 4);
    one.check(ValueNorm::kOutputL1);
  }
}

TEST_CASE("GPU: factors far from 1 keep their bits, in the narrow range of F16 too") {
  NEEDS_GPU();
  for (const DType type : {DType::kF16, DType::kBF16}) {
    for (const float size : {0.0F, 1e-6F, 1e-3F, 1e4F}) {
      CAPTURE(size);
      NormCase one(attention_shape(8, 2, 64), {500, 70}, type, type, 5);
      for (float& f : one.output.factor) f *= size;
      one.check(ValueNorm::kOutput);
    }
  }
}

TEST_CASE("GPU: Gram matrices equal the CPU's") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : gpu_shapes()) {
      CAPTURE(std::string(dtype_name(type)));
      CAPTURE(c.head_dim);
      const TestOutput output(c, 515, 6);
      const Stored o(type, output.o);
      const DeviceBuffer matrix(o.bytes);
      Matrix m = {.data = o.bytes.data(), .type = type, .rows = 515, .cols = c.q_size()};
      LayerWeights w;
      w.o = m;
      std::vector<float> cpu(size_t(c.q_size() * c.head_dim));
      make_cpu_device(c, 2)->output_grams(w, cpu.data());
      const DeviceBuffer grams(cpu.size() * 4), again(cpu.size() * 4);
      m.data = matrix.data();
      cuda::output_grams(m, cuda::heads_of(c), grams.as<float>(), nullptr);
      cuda::output_grams(m, cuda::heads_of(c), again.as<float>(), nullptr);
      CHECK(nmse(grams.values<float>(), cpu) < 1e-11);
      CHECK(grams.download() == again.download());
    }
  }
}
