// How long the GPU's top-k takes, beside CUB's sort and a plain read. Run with --no-skip.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/gpu/gpu.h"
#include "tests/gpu/timing.h"
#include "tests/gpu/top_k_case.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// Scores of a head as they are seen: a great first one, a slope, a bump over the last rows.
void make_skewed(TopKCase& c, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < c.score.size(); ++i) {
    const auto row = static_cast<float>(int64_t(i) % c.stride);
    const auto left = static_cast<float>(c.stride) - row;
    c.score[i] = row == 0 ? 25 : 6 + 1.5F * normal(random) + 4 * std::exp(left / -2000);
  }
}

void time_case(const std::string& name, const TopKCase& c) {
  const TopKOnGpu gpu(c);
  const DeviceBuffer workspace(sort_zones_bytes(gpu.lists())), rows(c.score.size() * 4);
  const DeviceBuffer sums(size_t(c.n() * kReadParts) * 4);
  const double top_k = median_us([&] { gpu.top_k(); });
  const double sort = median_us([&] { gpu.sort(workspace, rows); });
  const double read = median_us([&] { read_scores(gpu.lists(), sums.as<float>(), nullptr); });
  MESSAGE(c.n(), " x ", c.stride, ", k = ", c.k[0], ", ", name, ": top-k ", top_k,
          " us, CUB's segmented sort ", sort, " us, one read ", read, " us");
}

}  // namespace

TEST_CASE("timing: top-k" * doctest::skip()) {
  NEEDS_GPU();
  const std::pair<int32_t, int32_t> shapes[] = {
      {256, 131'072}, {32, 131'072}, {32, 32'768}, {8, 32'768}};
  for (const auto& [n, rows] : shapes) {
    TopKCase c;
    c.stride = rows;
    c.begin.assign(size_t(n), 0);
    c.end.assign(size_t(n), rows);
    c.k.assign(size_t(n), 2048);
    fill_scores(c, ScoreKind::kNormal, 1);
    time_case("normal", c);
    make_skewed(c, 2);
    time_case("skewed", c);
    fill_scores(c, ScoreKind::kClose, 3);
    time_case("close", c);
    fill_scores(c, ScoreKind::kEqual, 4);
    time_case("equal", c);
  }
}
