// How long the GPU takes for scores by keys, and for expected attention: 131072 rows of 8 KV heads
// of 4 query heads, 128 elements of bf16, and a chunk of 8448 queries at its end. Run with
// --no-skip.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cuda/random.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/gpu/timing.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr cuda::Heads kHeads = {32, 8, 128};
constexpr int64_t kRows = 131'072, kQueries = 8448;
constexpr DType kType = DType::kBF16;

std::string first_rows() {
  std::vector<int64_t> first;
  for (int64_t h = 0; h < kHeads.n_kv_heads; ++h) first.push_back(h * kRows);
  return raw_bytes(first);
}

std::string last_places() {
  std::vector<int32_t> places;
  for (int64_t i = kRows - kQueries; i < kRows; ++i) places.push_back(int32_t(i));
  return raw_bytes(places);
}

/// A layer whose rows are all seen, and all that the steps need.
struct Scene {
  Scene() {
    cuda::fill_random(k.data(), kType, uint64_t(kRows * kHeads.kv_size()), 1, 1, nullptr);
    cuda::fill_random(v.data(), kType, uint64_t(kRows * kHeads.kv_size()), 2, 1, nullptr);
    cuda::fill_random(q.data(), kType, uint64_t(kQueries * kHeads.q_size()), 3, 1, nullptr);
  }

  void key_norms() const { cuda::key_norms(kv(), kHeads, kType, zones.view(), lists(), nullptr); }
  void key_differences() const {
    cuda::key_differences(kv(), kHeads, kType, zones.view(), lists(), workspace.data(), nullptr);
  }
  void chunk_scores() const {
    cuda::chunk_scores(zones.view(), 10, lists(), kHeads.n_kv_heads, nullptr);
  }
  void share_scores() const { cuda::share_scores(zones.view(), lists(), nullptr); }
  void add_statistics() const {
    cuda::add_query_statistics({.type = kType,
                                .n = kQueries,
                                .q = q.data(),
                                .position = position.as<int32_t>(),
                                .workspace = workspace.data(),
                                .heads = kHeads},
                               frequencies, statistics(), nullptr);
  }
  void expected_scores() const {
    const ScoreLists head_lists{kHeads.n_heads, kRows, logits.as<float>(), nullptr};
    cuda::expected_scores({.type = kType,
                           .statistics = statistics(),
                           .outlook = {.n_queries = kQueries, .position = kRows},
                           .kv = kv(),
                           .heads = kHeads,
                           .zones = zones.view(),
                           .workspace = workspace.data()},
                          rotation, head_lists, lists(), nullptr);
  }

  KvRows kv() const {
    return {
        .k = k.data(), .v = v.data(), .mask = mask.as<uint32_t>(), .first = first.as<int64_t>()};
  }
  ScoreLists lists() const { return {kHeads.n_kv_heads, kRows, scores.as<float>(), nullptr}; }
  QueryStatistics statistics() const {
    return {.sum = sums.as<float>(), .products = sums.as<float>() + kHeads.q_size()};
  }

  DeviceBuffer k{uint64_t(kRows * kHeads.kv_size()) * 2};
  DeviceBuffer v{uint64_t(kRows * kHeads.kv_size()) * 2};
  DeviceBuffer q{uint64_t(kQueries * kHeads.q_size()) * 2};
  DeviceBuffer mask{uint64_t(kRows * kHeads.n_kv_heads) * 4};  // all ones
  DeviceBuffer first{first_rows()};
  DeviceBuffer position{last_places()};
  DeviceBuffer logits{uint64_t(kHeads.n_heads * kRows) * 4};
  DeviceBuffer scores{uint64_t(kHeads.n_kv_heads * kRows) * 4};
  DeviceBuffer sums{std::string(size_t(kHeads.q_size() * (kHeads.head_dim + 1)) * 4, '\0')};
  DeviceBuffer workspace{uint64_t{64} << 20};
  GpuZones zones{TestZones(std::vector<int32_t>(size_t(kHeads.n_kv_heads), int32_t(kRows)))};
  RopeFrequencies frequencies = rope_frequencies(500'000, kHeads.head_dim);
  MeanRotation rotation = mean_rotation(frequencies, kHeads.head_dim, kRows, 512);
};

}  // namespace

TEST_CASE("timing: scores by keys" * doctest::skip()) {
  NEEDS_GPU();
  const Scene scene;
  const double bytes = double(kRows * kHeads.kv_size()) * 2;
  const double norms_us = median_us([&] { scene.key_norms(); });
  const double differences_us = median_us([&] { scene.key_differences(); });
  MESSAGE("key norms: ", norms_us, " us, ", bytes / norms_us * 1e-3, " GB/s of keys");
  MESSAGE("key differences: ", differences_us, " us, ", 2 * bytes / differences_us * 1e-3,
          " GB/s of keys, read twice");
  MESSAGE("share scores: ", median_us([&] { scene.share_scores(); }), " us");
  MESSAGE("chunk scores: ", median_us([&] { scene.chunk_scores(); }), " us");
}

TEST_CASE("timing: query statistics and expected scores" * doctest::skip()) {
  NEEDS_GPU();
  const Scene scene;
  const double square = double(kHeads.q_size() * kHeads.head_dim) * 2;  // FLOP of q q^T or C k
  const double statistics_us = median_us([&] { scene.add_statistics(); });
  const double expected_us = median_us([&] { scene.expected_scores(); });
  MESSAGE("statistics of ", kQueries, " queries: ", statistics_us, " us, ",
          square * double(kQueries) / statistics_us * 1e-6, " TFLOP/s");
  MESSAGE("expected scores of ", kRows, " rows: ", expected_us, " us, ",
          square * double(kRows) / expected_us * 1e-6, " TFLOP/s");
}
