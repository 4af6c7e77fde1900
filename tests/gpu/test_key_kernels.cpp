// The GPU's scores by keys, and scores made alike, against the CPU device, over ragged heads with
// masks and windows. What belongs to no row is poisoned, and must stay so.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kNoScore = -std::numeric_limits<float>::infinity();

enum class KeyScore { kNorms, kDifferences };

/// Rows in order of place, some of them hidden from their whole group; one key of length 0.
struct KeyCase {
  TestLayer layer;
  TestZones zones;
  DType type;
  int64_t window;

  KeyCase(const ModelConfig& c, DType t, const std::vector<int32_t>& held, int64_t places)
      : layer(c, held, 1, 31), zones(held), type(t), window(places) {
    TestRandom random(32);
    for (size_t h = 0; h < held.size(); ++h) {
      for (int64_t r = 0; r < held[h]; ++r) {
        const auto entry = size_t(layer.first[h] + r);
        layer.position[entry] = int32_t(3 * r);
        if (draw(random, 6) == 0) layer.mask[entry] = c.group() == 32 ? 0 : 1U << 31;
      }
    }
    if (held[0] > 5)
      std::fill_n(&layer.k[size_t((layer.first[0] + 5) * c.head_dim)], c.head_dim, 0);
    round_to(type, layer);
  }

  TestLists poisoned_lists() const { return {layer.config.n_kv_heads, zones.view().max_rows}; }

  std::vector<float> on_cpu(KeyScore what) {
    TestLists lists = poisoned_lists();
    KvRows kv = layer.view();
    kv.window = window;
    const auto device = make_cpu_device(layer.config, 2);
    what == KeyScore::kNorms ? device->key_norms(kv, zones.view(), lists.view())
                             : device->key_differences(kv, zones.view(), lists.view());
    return lists.score;
  }

  /// `shift` as in GpuLayer; `max_rows` of the launch.
  std::vector<float> on_gpu(KeyScore what, size_t shift, int64_t max_rows) const {
    const cuda::Heads heads = cuda::heads_of(layer.config);
    const GpuLayer rows(layer, type, shift);
    const GpuLists lists(poisoned_lists());
    const DeviceBuffer workspace(cuda::key_differences_workspace_bytes(heads));
    GpuZones gpu_zones(zones);
    gpu_zones.max_rows = max_rows;
    KvRows kv = rows.view();
    kv.window = window;
    if (what == KeyScore::kNorms) {
      cuda::key_norms(kv, heads, type, gpu_zones.view(), lists.view(), nullptr);
    } else {
      cuda::key_differences(kv, heads, type, gpu_zones.view(), lists.view(), workspace.data(),
                            nullptr);
      (void)workspace.download();
    }
    return lists.score.values<float>();
  }

  void check() {
    const int64_t max_rows = zones.view().max_rows;
    for (const KeyScore what : {KeyScore::kNorms, KeyScore::kDifferences}) {
      CAPTURE(static_cast<int>(what));
      CAPTURE(std::string(dtype_name(type)));
      CAPTURE(layer.config.n_heads);
      CAPTURE(layer.config.n_kv_heads);
      CAPTURE(layer.config.head_dim);
      CAPTURE(window);
      const std::vector<float> expected = on_cpu(what);
      const std::vector<float> scores = on_gpu(what, 0, max_rows);
      CHECK(nmse_of_finite(scores, expected) < 1e-11);
      CHECK(same(scores, on_gpu(what, 0, max_rows)));
      CHECK(same(scores, on_gpu(what, 0, 10 * max_rows)));  // another grid
      CHECK(nmse_of_finite(on_gpu(what, dtype_size(type), max_rows), expected) < 1e-11);
    }
  }
};

/// Scores in [-1, 1), about every seventh -infinity.
TestLists random_lists(const ModelConfig& c, int64_t n, const TestZones& zones) {
  TestLists lists(n, zones.view().max_rows);
  TestRandom random(33);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < zones.rows[size_t(i / (n / c.n_kv_heads))]; ++r) {
      const float score = random.next();
      lists.list(i)[r] = draw(random, 7) == 0 ? kNoScore : score;
    }
  }
  return lists;
}

TestZones zones_within(const std::vector<int32_t>& held) {
  TestZones zones(held);
  for (size_t h = 0; h < held.size(); ++h) {
    zones.begin[h] = std::min(held[h], int32_t(3 + h));
    zones.end[h] = std::max(zones.begin[h], held[h] - 2);
  }
  return zones;
}

}  // namespace

TEST_CASE("GPU: scores by keys are the CPU's") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : gpu_shapes()) {
      KeyCase(c, type, ragged_rows(c), 0).check();
      KeyCase(c, type, ragged_rows(c), 100).check();
    }
    // Parts that take several turns.
    KeyCase(attention_shape(8, 2, 128), type, {40'000, 9'001}, 0).check();
  }
}

TEST_CASE("GPU: a NaN in a key shows in its length, and in all cosines") {
  NEEDS_GPU();
  KeyCase some(attention_shape(4, 1, 64), DType::kF32, {300}, 0);
  std::fill(some.layer.mask.begin(), some.layer.mask.end(), kSeenByAll);
  some.layer.k[size_t((some.layer.first[0] + 7) * 64 + 63)] = NAN;
  const std::vector<float> norms = some.on_gpu(KeyScore::kNorms, 0, 300);
  const std::vector<float> cosines = some.on_gpu(KeyScore::kDifferences, 0, 300);
  CHECK(std::isnan(norms[7]));
  CHECK(std::isfinite(norms[6]));
  CHECK(std::isfinite(norms[8]));
  for (size_t r = 0; r < 300; ++r) CHECK(std::isnan(cosines[r]));
}

TEST_CASE("GPU: shared scores are the CPU's") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    CAPTURE(c.n_kv_heads);
    for (const bool alike : {false, true}) {
      const TestZones zones(alike ? std::vector<int32_t>(size_t(c.n_kv_heads), 1000)
                                  : ragged_rows(c));
      TestLists lists = random_lists(c, c.n_kv_heads, zones);
      std::vector<float> scores[2];
      for (std::vector<float>& run : scores) {
        const GpuLists gpu(lists);
        const GpuZones gpu_zones(zones);
        cuda::share_scores(gpu_zones.view(), gpu.view(), nullptr);
        run = gpu.score.values<float>();
      }
      make_cpu_device(c, 2)->share_scores(zones.view(), lists.view());
      CHECK(same(scores[0], lists.score));  // the same sums in the same order
      CHECK(same(scores[0], scores[1]));
    }
  }
}

TEST_CASE("GPU: scores of chunks are the CPU's, and nothing changes outside of the zones") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    for (const int64_t n : {c.n_kv_heads, c.n_heads}) {
      for (const int64_t length : {1, 7, 20, 32, 33, 500, 100'000}) {
        CAPTURE(c.n_kv_heads);
        CAPTURE(n);
        CAPTURE(length);
        const TestZones zones = zones_within(ragged_rows(c));
        TestLists lists = random_lists(c, n, zones);
        std::vector<float> scores[2];
        for (std::vector<float>& run : scores) {
          const GpuLists gpu(lists);
          const GpuZones gpu_zones(zones);
          cuda::chunk_scores(gpu_zones.view(), length, gpu.view(), c.n_kv_heads, nullptr);
          run = gpu.score.values<float>();
        }
        make_cpu_device(c, 2)->chunk_scores(zones.view(), length, lists.view());
        CHECK(nmse_of_finite(scores[0], lists.score) < (length == 1 ? 1e-30 : 1e-8));
        CHECK(same(scores[0], scores[1]));
      }
    }
  }
}
