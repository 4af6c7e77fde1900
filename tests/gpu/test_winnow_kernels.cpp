// The GPU's scores of K/V rows against the formulas in double precision and the CPU device, over
// ragged heads with masks. What belongs to no row is poisoned, and must stay so.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "src/cpu/cpu_device.h"
#include "src/kv/random_score.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kNoScore = -std::numeric_limits<float>::infinity();

/// One score a row and query head of `f(head, r)`, NaN past the rows.
template <class F>
std::vector<double> for_each_score(const TestLists& lists, const TestLayer& layer,
                                   const std::vector<int32_t>& rows, F&& f) {
  std::vector<double> scores(lists.score.size(), NAN);
  const int64_t n_heads = layer.config.n_heads;
#pragma omp parallel for
  for (int64_t head = 0; head < n_heads; ++head) {
    for (int64_t r = 0; r < rows[size_t(head / layer.config.group())]; ++r) {
      const bool seen = layer.sees(head, r);
      scores[size_t(head * lists.stride + r)] = seen ? f(head, r) : -kInfinity;
    }
  }
  return scores;
}

struct ScoreCase {
  TestLayer layer;
  TestZones zones;
  Stored q;
  DType type;

  ScoreCase(const ModelConfig& c, DType t, const std::vector<int32_t>& held, uint64_t seed)
      : layer(c, held, 1, seed),
        zones(held),
        q(t, random_floats(c.q_size(), seed + 1, 2)),
        type(t) {
    round_to(type, layer);
  }

  TestLists poisoned_lists() const { return {layer.config.n_heads, zones.view().max_rows}; }

  std::vector<float> on_cpu() {
    TestLists lists = poisoned_lists();
    make_cpu_device(layer.config, 2)
        ->attention_scores(q.values.data(), layer.view(), zones.view(), lists.view());
    return lists.score;
  }

  /// `shift` as in GpuLayer; `max_rows` of the launch.
  std::vector<float> on_gpu(size_t shift, int64_t max_rows) const {
    const GpuLayer rows(layer, type, shift);
    const GpuLists lists(poisoned_lists());
    const DeviceBuffer query(q.bytes);
    GpuZones gpu_zones(zones);
    gpu_zones.max_rows = max_rows;
    cuda::attention_scores(query.data(), rows.view(), cuda::heads_of(layer.config), type,
                           gpu_zones.view(), lists.view(), nullptr);
    return lists.score.values<float>();
  }

  std::vector<double> naive() const {
    const int64_t d = layer.config.head_dim;
    return for_each_score(poisoned_lists(), layer, zones.rows, [&](int64_t head, int64_t r) {
      const int64_t entry = layer.first[size_t(head / layer.config.group())] + r;
      double sum = 0;
      for (int64_t e = 0; e < d; ++e) {
        sum += double{q.values[size_t(head * d + e)]} * layer.k[size_t(entry * d + e)];
      }
      return sum / std::sqrt(double(d));
    });
  }

  void check() {
    CAPTURE(std::string(dtype_name(type)));
    CAPTURE(layer.config.n_heads);
    CAPTURE(layer.config.n_kv_heads);
    CAPTURE(layer.config.head_dim);
    const std::vector<float> scores = on_gpu(0, zones.view().max_rows);
    CHECK(nmse_of_finite(scores, naive()) < 1e-11);
    CHECK(nmse_of_finite(scores, on_cpu()) < 1e-11);
    CHECK(same(scores, on_gpu(0, zones.view().max_rows)));
    CHECK(same(scores, on_gpu(0, 10 * zones.view().max_rows)));  // another grid
    CHECK(nmse_of_finite(on_gpu(dtype_size(type), zones.view().max_rows), naive()) < 1e-11);
  }
};

/// Softmaxes of one KV head's group combined; row r of the head is out[r].
std::vector<double> naive_combined(const TestLists& from, int64_t h, int64_t group, GroupScore how,
                                   int64_t rows) {
  std::vector<double> sum(size_t(rows), 0), most(size_t(rows), 0);
  std::vector<bool> seen(size_t(rows), false);
  for (int64_t head = h * group; head < (h + 1) * group; ++head) {
    double max = -kInfinity;
    for (int64_t r = 0; r < rows; ++r) max = std::max(max, double{from.at(head, r)});
    double total = 0;
    for (int64_t r = 0; r < rows; ++r) {
      if (from.at(head, r) != kNoScore) total += std::exp(from.at(head, r) - max);
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (from.at(head, r) == kNoScore) continue;
      const double weight = std::exp(from.at(head, r) - max) / total;
      seen[size_t(r)] = true;
      sum[size_t(r)] += weight;
      most[size_t(r)] = std::max(most[size_t(r)], weight);
    }
  }
  for (size_t r = 0; r < sum.size(); ++r) {
    if (how == GroupScore::kMean) sum[r] /= double(group);
    if (how == GroupScore::kMax) sum[r] = most[r];
    if (!seen[r]) sum[r] = -kInfinity;
  }
  return sum;
}

std::vector<float> combine_on_gpu(const TestLists& from, GroupScore how, const TestZones& zones) {
  const auto n_kv_heads = int64_t(zones.rows.size());
  const GpuLists gpu_from(from), to(TestLists(n_kv_heads, zones.view().max_rows));
  const GpuZones gpu_zones(zones);
  const DeviceBuffer workspace(cuda::combine_workspace_bytes(from.n));
  cuda::combine_scores(gpu_from.view(), how, gpu_zones.view(), to.view(), workspace.data(),
                       nullptr);
  (void)workspace.download();
  CHECK(same(gpu_from.score.values<float>(), from.score));
  return to.score.values<float>();
}

/// Scores in [-scale, scale), about every fifth -infinity, and query head 1 seeing nothing.
TestLists random_lists(const ModelConfig& c, const TestZones& zones, float scale, uint64_t seed) {
  TestLists lists(c.n_heads, zones.view().max_rows);
  TestRandom random(seed);
  for (int64_t head = 0; head < c.n_heads; ++head) {
    for (int64_t r = 0; r < zones.rows[size_t(head / c.group())]; ++r) {
      const float score = scale * random.next();
      lists.list(head)[r] = head == 1 || draw(random, 5) == 0 ? kNoScore : score;
    }
  }
  return lists;
}

const GroupScore kAllWays[] = {GroupScore::kMean, GroupScore::kMax, GroupScore::kSum};

}  // namespace

TEST_CASE("GPU: attention scores equal the formula and the CPU's") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : gpu_shapes()) ScoreCase(c, type, ragged_rows(c), 1).check();
  }
  for (const DType type : kTypes) {
    const ModelConfig c = attention_shape(8, 2, 128);
    ScoreCase(c, type, {40'000, 9'001}, 2).check();  // blocks that take several tiles
  }
}

TEST_CASE("GPU: where every row is hidden from a query head, its scores are all -infinity") {
  NEEDS_GPU();
  for (const int64_t group : {1, 4, 9}) {
    const ModelConfig c = attention_shape(group, 1, 64);
    ScoreCase some(c, DType::kBF16, {300}, 3);
    for (uint32_t& mask : some.layer.mask) mask = group == 1 ? 0 : 0xfffffffdU;
    const TestLists shape = some.poisoned_lists();
    const std::vector<float> scores = some.on_gpu(0, 300);
    for (int64_t head = 0; head < group; ++head) {
      int hidden = 0;
      for (int64_t r = 0; r < 300; ++r)
        hidden += scores[size_t(head * shape.stride + r)] == kNoScore;
      CHECK(hidden == (group == 1 || head == 1 ? 300 : 0));
    }
  }
}

TEST_CASE("GPU: random scores are the CPU's, to the bit") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    CAPTURE(c.n_heads);
    for (const uint64_t seed : {uint64_t{0}, uint64_t{7}, ~uint64_t{0}}) {
      const std::vector<int32_t> held = ragged_rows(c);
      TestLayer layer(c, held, 1, 4);
      const TestZones zones(held);
      TestLists cpu(c.n_heads, most_of(held));
      const GpuLists gpu(cpu);
      make_cpu_device(c, 2)->random_scores(seed, layer.view(), zones.view(), cpu.view());
      const GpuLayer rows(layer, DType::kF16);
      const GpuZones gpu_zones(zones);
      cuda::random_scores(seed, rows.view(), cuda::heads_of(c), gpu_zones.view(), gpu.view(),
                          nullptr);
      const std::vector<float> scores = gpu.score.values<float>();
      CHECK(same(scores, cpu.score));
      const auto naive = for_each_score(cpu, layer, held, [&](int64_t head, int64_t r) {
        const int64_t entry = layer.first[size_t(head / c.group())] + r;
        return double{random_score(seed, head, layer.position[size_t(entry)])};
      });
      CHECK(nmse_of_finite(scores, naive) == 0);
    }
  }
}

TEST_CASE("GPU: combined scores equal mean, max and sum of softmaxes, and the CPU's") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    for (const float scale : {1.0F, 30.0F}) {
      const TestZones zones(c.n_kv_heads == 1 ? std::vector<int32_t>{20'003} : ragged_rows(c));
      TestLists from = random_lists(c, zones, scale, 5);
      for (const GroupScore how : kAllWays) {
        CAPTURE(c.n_heads);
        CAPTURE(c.n_kv_heads);
        CAPTURE(static_cast<int>(how));
        const std::vector<float> combined = combine_on_gpu(from, how, zones);
        TestLists cpu(c.n_kv_heads, most_of(zones.rows));
        make_cpu_device(c, 2)->combine_scores(from.view(), how, zones.view(), cpu.view());
        CHECK(nmse_of_finite(combined, cpu.score) < 1e-10);
        CHECK(same(combined, combine_on_gpu(from, how, zones)));
        for (int64_t h = 0; h < c.n_kv_heads; ++h) {
          const int32_t rows = zones.rows[size_t(h)];
          const auto expected = naive_combined(from, h, c.group(), how, rows);
          CHECK(nmse_of_finite(&combined[size_t(h * cpu.stride)], expected) < 1e-10);
          CHECK(std::isnan(combined[size_t(h * cpu.stride + rows)]));
        }
      }
    }
  }
}

TEST_CASE("GPU: a NaN or +infinity in a query head's scores is not lost in the combined ones") {
  NEEDS_GPU();
  const ModelConfig c = attention_shape(6, 2, 8);
  const TestZones zones({50, 30});
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), float(kInfinity)}) {
    for (const GroupScore how : kAllWays) {
      TestLists from = random_lists(c, zones, 1, 6);
      from.list(4)[11] = bad;
      from.list(4)[12] = kNoScore;
      from.list(5)[12] = 0.5F;
      TestLists cpu(c.n_kv_heads, 50);
      make_cpu_device(c, 2)->combine_scores(from.view(), how, zones.view(), cpu.view());
      const std::vector<float> combined = combine_on_gpu(from, how, zones);
      CHECK(nmse_of_finite(combined, cpu.score) < 1e-10);
      CHECK(std::isnan(combined[size_t(cpu.stride + 11)]));
      CHECK(std::isfinite(combined[11]));
    }
  }
}
