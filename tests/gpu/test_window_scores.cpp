// The GPU's attention of a prompt's last queries against the CPU device, in all its ways: shapes,
// masks, windows, ragged rows, rows behind those that are held. What no row owns is poisoned.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cuda/window_attention.h"
#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/support/score_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// A way of computing: the one that is chosen, or the plain one.
using Way = bool (*)(const cuda::WindowArgs& args, cuda::Stream stream);

struct GpuScene {
  GpuScene(WindowScene& s, DType t) : scene(s), type(t), stored(t, s.queries) {
    round_to(type, scene.layer);
    scene.queries = stored.values;
  }

  TestLists poisoned_lists() const {
    return {scene.layer.config.n_heads, scene.zones.view().max_rows};
  }

  std::vector<float> on_cpu(WindowSum how) const {
    TestLists lists = poisoned_lists();
    make_cpu_device(scene.layer.config, 2)
        ->window_attention(scene.queries.data(), scene.n, scene.rows(), scene.zones.view(), how,
                           lists.view());
    return lists.score;
  }

  /// `shift` as in GpuLayer. False where the way does not apply.
  bool on_gpu(Way way, WindowSum how, size_t shift, std::vector<float>& scores) const {
    const cuda::Heads heads = cuda::heads_of(scene.layer.config);
    const GpuLayer layer(scene.layer, type, shift);
    const GpuLists lists(poisoned_lists());
    const GpuZones zones(scene.zones);
    const DeviceBuffer queries(stored.bytes);
    const DeviceBuffer workspace(cuda::window_attention_workspace_bytes(heads));
    KvRows kv = layer.view();
    kv.window = scene.window;
    const bool applies = way({.queries = queries.data(),
                              .n = scene.n,
                              .kv = kv,
                              .heads = heads,
                              .type = type,
                              .zones = zones.view(),
                              .how = how,
                              .lists = lists.view(),
                              .workspace = workspace.data()},
                             nullptr);
    (void)workspace.download();  // its end is watched
    scores = lists.score.values<float>();
    return applies;
  }

  void check(WindowSum how) const {
    CAPTURE(std::string(dtype_name(type)));
    CAPTURE(scene.layer.config.n_heads);
    CAPTURE(scene.layer.config.n_kv_heads);
    CAPTURE(scene.layer.config.head_dim);
    CAPTURE(scene.n);
    CAPTURE(scene.window);
    CAPTURE(static_cast<int>(how));
    const std::vector<float> cpu = on_cpu(how);
    std::vector<float> plain, again, mma;
    CHECK(on_gpu(cuda::window_attention_plain, how, 0, plain));
    CHECK(nmse_of_finite(plain, cpu) < 1e-10);
    CHECK(on_gpu(cuda::window_attention_plain, how, dtype_size(type), again));
    CHECK(same(plain, again));
    const int64_t d = scene.layer.config.head_dim;
    const bool expected = type != DType::kF32 && (d == 64 || d == 128) && scene.window == 0;
    CHECK(on_gpu(cuda::window_attention_mma, how, 0, mma) == expected);
    if (!expected) return;
    CHECK(nmse_of_finite(mma, cpu) < 1e-10);
    CHECK(on_gpu(cuda::window_attention_mma, how, 0, again));
    CHECK(same(mma, again));
    CHECK_FALSE(on_gpu(cuda::window_attention_mma, how, dtype_size(type), again));
  }

  WindowScene& scene;
  DType type;
  Stored stored;
};

void check_all(WindowScene scene, DType type) {
  const GpuScene gpu(scene, type);
  for (const WindowSum how : kWindowSums) gpu.check(how);
}

}  // namespace

TEST_CASE("GPU: window attention equals the CPU's, of every shape and type") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : gpu_shapes()) {
      check_all(WindowScene(c, ragged_rows(c), 32, 0, 1), type);
    }
  }
}

TEST_CASE("GPU: window attention of one query, of few, and of more than are taken at once") {
  NEEDS_GPU();
  for (const int32_t n : {1, 2, 9, 17, 31, 33, 64}) {
    for (const auto& [heads, kv_heads] : {std::pair{8, 2}, {3, 3}, {4, 2}, {14, 2}}) {
      const ModelConfig c = attention_shape(heads, kv_heads, n % 2 == 0 ? 64 : 128);
      check_all(WindowScene(c, ragged_rows(c), n, 0, 2), DType::kBF16);
    }
  }
}

TEST_CASE("GPU: window attention over rows that several tiles of each block take") {
  NEEDS_GPU();
  const ModelConfig c = attention_shape(8, 2, 128);
  check_all(WindowScene(c, {60'001, 9'001}, 32, 0, 3), DType::kBF16);
  check_all(WindowScene(c, {40'000, 64}, 32, 0, 3), DType::kF16);
}

TEST_CASE("GPU: window attention where rows lie behind those that are held") {
  NEEDS_GPU();
  for (const int32_t ahead : {1, 32, 100}) {
    for (const DType type : {DType::kBF16, DType::kF32}) {
      check_all(WindowScene(attention_shape(8, 2, 64), {1500, 20}, 32, ahead, 4), type);
    }
  }
}

TEST_CASE("GPU: window attention in a sliding window") {
  NEEDS_GPU();
  for (const int64_t window : {1, 40, 900, 100'000}) {
    for (const int32_t n : {32, 40}) {
      WindowScene scene(attention_shape(6, 2, 64), {1500, 45}, n, 0, 5);
      scene.window = window;
      check_all(scene, DType::kBF16);
    }
  }
}

TEST_CASE("GPU: a query head that sees no row has scores of -infinity, and others as without it") {
  NEEDS_GPU();
  WindowScene scene(attention_shape(8, 2, 128), {900, 300}, 32, 0, 6);
  for (uint32_t& mask : scene.layer.mask) mask &= ~2U;
  check_all(scene, DType::kBF16);
  check_all(scene, DType::kF32);
}

TEST_CASE("GPU: a NaN in a query shows where the CPU shows it") {
  NEEDS_GPU();
  WindowScene scene(attention_shape(8, 2, 64), {900, 300}, 8, 0, 7);
  scene.queries[size_t((3 * 8 + 1) * 64 + 5)] = NAN;  // query 3 of head 1
  for (const DType type : kTypes) {
    WindowScene copy = scene;
    const GpuScene gpu(copy, type);
    const std::vector<float> cpu = gpu.on_cpu(WindowSum::kSum);
    std::vector<float> scores;
    for (const Way way : {cuda::window_attention_plain, cuda::window_attention_mma}) {
      if (gpu.on_gpu(way, WindowSum::kSum, 0, scores)) CHECK(nmse_of_finite(scores, cpu) < 1e-10);
    }
  }
}
