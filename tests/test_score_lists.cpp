// What is done to lists of scores on the CPU device: against plain loops in double precision.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "src/cpu/cpu_device.h"
#include "tests/support/score_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

/// Zones of spans of 512 crossed, of one row, and of none; rows outside of each.
TestZones some_zones() {
  TestZones zones({1600, 50, 30, 10});
  zones.begin = {5, 49, 30, 0};
  zones.end = {1597, 50, 30, 8};
  return zones;
}

/// Weights of rows in the zones, about every fourth -infinity; all else poisoned.
TestLists random_weights(int64_t n, const TestZones& zones, uint64_t seed) {
  TestLists lists(n, zones.view().max_rows);
  TestRandom random(seed);
  const int64_t per_head = n / std::ssize(zones.rows);
  for (int64_t i = 0; i < n; ++i) {
    const auto h = size_t(i / per_head);
    for (int64_t r = zones.begin[h]; r < zones.end[h]; ++r) {
      const float weight = (random.next() + 1) / 2;
      lists.list(i)[r] = draw(random, 4) == 0 || r == 7 ? kNone : weight;
    }
  }
  return lists;
}

/// Checks list i, row r against expected(i, r) in the zones, and that nothing else was written.
void check(TestLists& lists, const TestZones& zones,
           const std::function<double(int64_t, int64_t)>& expected) {
  const int64_t per_head = lists.n / std::ssize(zones.rows);
  double worst = 0;
  bool rest_poisoned = true;
  for (int64_t i = 0; i < lists.n; ++i) {
    const auto h = size_t(i / per_head);
    for (int64_t r = 0; r < lists.stride; ++r) {
      if (r >= zones.begin[h] && r < zones.end[h]) {
        worst = std::max(worst, worst_score(lists.list(i) + r, {expected(i, r)}));
      } else {
        rest_poisoned = rest_poisoned && std::isnan(lists.at(i, r));
      }
    }
  }
  CHECK(worst < 1e-6);
  CHECK(rest_poisoned);
}

ModelConfig shape(int64_t n_heads) {
  return attention_shape(n_heads, 4, 2);
}

}  // namespace

TEST_CASE("weights of a group become mean, max or sum; -infinity where none sees the row") {
  const TestZones zones = some_zones();
  for (const int64_t group : {1, 3, 8}) {
    TestLists from = random_weights(4 * group, zones, 1);
    for (const GroupScore how : {GroupScore::kMean, GroupScore::kMax, GroupScore::kSum}) {
      TestLists to(4, 1600);
      make_cpu_device(shape(4 * group), 2)->group_scores(from.view(), how, zones.view(), to.view());
      check(to, zones, [&](int64_t h, int64_t r) -> double {
        double sum = 0, max = -INFINITY;
        for (int64_t head = h * group; head < (h + 1) * group; ++head) {
          const double s = from.at(head, r);
          if (s != -INFINITY) sum += s;
          max = std::max(max, s);
        }
        if (max == -INFINITY || how == GroupScore::kMax) return max;
        return how == GroupScore::kMean ? sum / double(group) : sum;
      });
    }
  }
}

TEST_CASE("scores are scaled by another list's, -infinity where one of the two is") {
  const TestZones zones = some_zones();
  for (const float add : {0.0F, 0.25F}) {
    TestLists before = random_weights(8, zones, 2);
    before.list(0)[5] = -kNone;  // promoted
    TestLists lists = before, by = random_weights(8, zones, 3);
    by.list(0)[5] = 0;
    make_cpu_device(shape(8), 2)->scale_scores(lists.view(), add, by.view(), zones.view());
    check(lists, zones, [&](int64_t i, int64_t r) -> double {
      const double a = before.at(i, r), b = by.at(i, r);
      if (a == INFINITY) return a;
      return a == -INFINITY || b == -INFINITY ? -INFINITY : (a + add) * b;
    });
  }
}

TEST_CASE("pooled scores: the average with zeros beyond the zone, and the greatest") {
  const TestZones zones = some_zones();
  for (const int64_t width : {1, 5, 7, 31}) {
    for (const Pool how : {Pool::kAverage, Pool::kMax}) {
      TestLists from = random_weights(8, zones, 4), to(8, 1600);
      make_cpu_device(shape(8), 2)->pool_scores(from.view(), width, how, zones.view(), to.view());
      check(to, zones, [&](int64_t i, int64_t r) -> double {
        double sum = 0, max = -INFINITY;
        for (int64_t at = r - width / 2; at <= r + width / 2; ++at) {
          if (at < zones.begin[size_t(i / 2)] || at >= zones.end[size_t(i / 2)]) continue;
          if (from.at(i, at) == kNone) continue;
          sum += from.at(i, at);
          max = std::max(max, double{from.at(i, at)});
        }
        if (from.at(i, r) == kNone) return -INFINITY;
        return how == Pool::kMax ? max : sum / double(width);
      });
    }
  }
}

TEST_CASE("normalized scores sum up to 1 over all lists; a sum of 0 changes nothing") {
  const TestZones zones = some_zones();
  const TestLists before = random_weights(4, zones, 5);
  TestLists lists = before;
  const auto device = make_cpu_device(shape(8), 2);
  device->normalize_scores(lists.view(), zones.view());
  double sum = 0;
  for (const float s : before.score) sum += s == kNone || std::isnan(s) ? 0.0 : double{s};
  check(lists, zones, [&](int64_t i, int64_t r) { return before.at(i, r) / sum; });
  for (float& s : lists.score) s = std::isnan(s) || s == kNone ? s : 0.0F;
  const std::vector<float> zeros = lists.score;
  device->normalize_scores(lists.view(), zones.view());
  CHECK(std::memcmp(lists.score.data(), zeros.data(), zeros.size() * 4) == 0);
}

TEST_CASE("what a cut takes is promoted: the next, larger cut takes it first") {
  TestZones zones = some_zones();
  zones.k = {700, 1, 3, 4};
  TestLists lists = random_weights(8, zones, 6);
  for (int64_t r = 100; r < 900; ++r) lists.list(1)[r] = 0.5F;  // ties
  const TestLists before = lists;
  const auto device = make_cpu_device(shape(8), 2);
  device->top_k(zones.view(), lists.view());
  device->promote_scores(zones.view(), lists.view());
  check(lists, zones, [&](int64_t i, int64_t r) -> double {
    const float score = before.at(i, r);
    return lists.cut[size_t(i)].takes(score, r) ? INFINITY : double{score};
  });
  int64_t promoted = 0;
  for (int64_t r = 5; r < 1597; ++r) promoted += lists.at(1, r) == -kNone ? 1 : 0;
  CHECK(promoted == 700);
}

TEST_CASE("a NaN of one score is not lost in a group, a pool or a sum") {
  const TestZones zones = some_zones();
  const auto device = make_cpu_device(shape(8), 2);
  TestLists lists = random_weights(8, zones, 7), pooled(8, 1600), grouped(4, 1600);
  lists.list(1)[600] = NAN;
  lists.list(1)[601] = 0.5F;
  for (const Pool how : {Pool::kAverage, Pool::kMax}) {
    device->pool_scores(lists.view(), 3, how, zones.view(), pooled.view());
    CHECK(std::isnan(pooled.at(1, 601)));
  }
  for (const GroupScore how : {GroupScore::kMean, GroupScore::kMax, GroupScore::kSum}) {
    device->group_scores(lists.view(), how, zones.view(), grouped.view());
    CHECK(std::isnan(grouped.at(0, 600)));
  }
  device->normalize_scores(lists.view(), zones.view());
  CHECK(std::isnan(lists.at(6, 0)) != (lists.at(6, 0) == kNone));
}
