// What the GPU does to lists of scores, against the CPU device.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cuda/top_k.h"
#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int64_t kKvHeads = 4;

TestZones some_zones() {
  TestZones zones({20'011, 50, 30, 10});
  zones.begin = {5, 49, 30, 0};
  zones.end = {20'001, 50, 30, 8};
  zones.k = {700, 1, 3, 4};
  return zones;
}

/// Weights of rows in the zones, about every fourth -infinity, one NaN where asked for; all else
/// poisoned.
TestLists random_weights(int64_t n, const TestZones& zones, uint64_t seed, bool with_nan = false) {
  TestLists lists(n, zones.view().max_rows);
  TestRandom random(seed);
  for (int64_t i = 0; i < n; ++i) {
    const auto h = size_t(i / (n / kKvHeads));
    for (int64_t r = zones.begin[h]; r < zones.end[h]; ++r) {
      lists.list(i)[r] = draw(random, 4) == 0 ? kNone : (random.next() + 1) / 2;
    }
  }
  if (with_nan) lists.list(0)[600] = NAN;
  return lists;
}

/// Both devices' lists after `step`, which gets the lists to change or fill.
template <class Cpu, class Gpu>
void check(TestLists cpu, Cpu&& on_cpu, Gpu&& on_gpu, double tolerance) {
  const GpuLists gpu(cpu), again(cpu);
  on_cpu(cpu.view());
  on_gpu(gpu.view());
  on_gpu(again.view());
  const std::vector<float> scores = gpu.score.values<float>();
  CHECK(nmse_of_finite(scores, cpu.score) <= tolerance);
  CHECK(same(scores, again.score.values<float>()));
}

ModelConfig shape(int64_t n_heads) {
  return attention_shape(n_heads, kKvHeads, 2);
}

}  // namespace

TEST_CASE("GPU: grouped, scaled and pooled scores are the CPU's") {
  NEEDS_GPU();
  const TestZones zones = some_zones();
  const GpuZones gpu_zones(zones);
  for (const int64_t group : {1, 3, 8}) {
    for (const bool with_nan : {false, true}) {
      const auto device = make_cpu_device(shape(4 * group), 2);
      TestLists from = random_weights(4 * group, zones, 1, with_nan);
      TestLists by = random_weights(4 * group, zones, 2);
      const GpuLists gpu_from(from), gpu_by(by);
      for (const GroupScore how : {GroupScore::kMean, GroupScore::kMax, GroupScore::kSum}) {
        check(
            TestLists(kKvHeads, 20'011),
            [&](ScoreLists to) { device->group_scores(from.view(), how, zones.view(), to); },
            [&](ScoreLists to) {
              cuda::group_scores(gpu_from.view(), how, gpu_zones.view(), to, nullptr);
            },
            0);
      }
      check(
          from,
          [&](ScoreLists lists) { device->scale_scores(lists, 0.25F, by.view(), zones.view()); },
          [&](ScoreLists lists) {
            cuda::scale_scores(lists, 0.25F, gpu_by.view(), gpu_zones.view(), kKvHeads, nullptr);
          },
          0);
      for (const int64_t width : {1, 7, 31}) {
        for (const Pool how : {Pool::kAverage, Pool::kMax}) {
          check(
              TestLists(4 * group, 20'011),
              [&](ScoreLists to) {
                device->pool_scores(from.view(), width, how, zones.view(), to);
              },
              [&](ScoreLists to) {
                cuda::pool_scores(gpu_from.view(), width, how, gpu_zones.view(), to, kKvHeads,
                                  nullptr);
              },
              0);
        }
      }
    }
  }
}

TEST_CASE("GPU: normalized scores are the CPU's; a sum of 0 changes nothing") {
  NEEDS_GPU();
  const TestZones zones = some_zones();
  const GpuZones gpu_zones(zones);
  for (const int64_t n : {4, 32}) {
    const auto device = make_cpu_device(shape(32), 2);
    const DeviceBuffer workspace(cuda::normalize_workspace_bytes(n));
    const auto on_cpu = [&](ScoreLists lists) { device->normalize_scores(lists, zones.view()); };
    const auto on_gpu = [&](ScoreLists lists) {
      cuda::normalize_scores(lists, gpu_zones.view(), kKvHeads, workspace.data(), nullptr);
    };
    check(random_weights(n, zones, 3), on_cpu, on_gpu, 1e-11);
    check(random_weights(n, zones, 3, true), on_cpu, on_gpu, 1e-11);
    TestLists zeros = random_weights(n, zones, 4);
    for (float& score : zeros.score) score = score > 0 ? 0 : score;
    check(zeros, on_cpu, on_gpu, 0);
    (void)workspace.download();
  }
}

TEST_CASE("GPU: what a cut takes is promoted as on the CPU") {
  NEEDS_GPU();
  const TestZones zones = some_zones();
  const GpuZones gpu_zones(zones);
  const auto device = make_cpu_device(shape(8), 2);
  TestLists lists = random_weights(8, zones, 5);
  for (int64_t r = 100; r < 900; ++r) lists.list(1)[r] = 0.9F;  // ties
  check(
      lists,
      [&](ScoreLists cpu) {
        device->top_k(zones.view(), cpu);
        device->promote_scores(zones.view(), cpu);
      },
      [&](ScoreLists gpu) {
        cuda::top_k(gpu_zones.view(), gpu, kKvHeads, nullptr);
        cuda::promote_scores(gpu_zones.view(), gpu, kKvHeads, nullptr);
      },
      0);
}
