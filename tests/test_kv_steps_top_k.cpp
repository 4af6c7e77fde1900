// The selection of rows on the CPU device: exact top-k against a sort, and the lists of kept rows.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

#include "src/cpu/cpu_device.h"
#include "tests/support/kv_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kLeast = std::numeric_limits<float>::denorm_min();

using Draw = std::function<float(int64_t, TestRandom&)>;
struct Kind {
  const char* name;
  Draw score;  // of element i
};

float one_of(std::vector<float> values, TestRandom& random) {
  return values[size_t(draw(random, static_cast<int64_t>(values.size())))];
}

std::vector<Kind> kinds() {
  return {
      {"uniform", [](int64_t, TestRandom& random) { return random.next(); }},
      {"any finite bits",
       [](int64_t, TestRandom& random) {
         const auto f = std::bit_cast<float>(bits(random));
         return std::isfinite(f) ? f : 0.0F;
       }},
      {"heavy ties", [](int64_t, TestRandom& random) { return float(draw(random, 4)) - 1.5F; }},
      {"all equal", [](int64_t, TestRandom&) { return -0.125F; }},
      {"zeros of both signs",
       [](int64_t, TestRandom& random) {
         return one_of({0.0F, -0.0F}, random);
       }},
      {"zeros among others",
       [](int64_t, TestRandom& random) {
         return one_of({0.0F, -0.0F, 1, -1, -0.0F}, random);
       }},
      {"denormals",
       [](int64_t, TestRandom& random) { return float(draw(random, 1000) - 500) * kLeast; }},
      {"the last bit",
       [](int64_t, TestRandom& random) {
         return std::bit_cast<float>(0x3f800000U + static_cast<uint32_t>(draw(random, 256)));
       }},
      {"rising", [](int64_t i, TestRandom&) { return float(i) - 100.0F; }},
      {"falling", [](int64_t i, TestRandom&) { return 100.0F - float(i); }},
      {"few to take",
       [](int64_t, TestRandom& random) {
         return draw(random, 5) != 0 ? -kInfinity : random.next();
       }},
      {"none to take", [](int64_t, TestRandom&) { return -kInfinity; }},
      {"infinities of both signs",
       [](int64_t, TestRandom& random) {
         return one_of({kInfinity, -kInfinity, 1, 2}, random);
       }},
  };
}

/// The rows of [begin, end) that are to be taken, the best first.  score [end]
std::vector<int32_t> naive_top_k(const float* score, int32_t begin, int32_t end, int32_t k) {
  std::vector<int32_t> rows;
  for (int32_t r = begin; r < end; ++r) {
    if (score[r] > -kInfinity) rows.push_back(r);
  }
  std::sort(rows.begin(), rows.end(), [&](int32_t a, int32_t b) {
    return score[a] > score[b] || (score[a] == score[b] && a < b);
  });
  rows.resize(std::min(rows.size(), size_t(k)));
  return rows;
}

/// The cut itself, and the rows that it takes.
void check_cut(const Cut& cut, const float* score, int32_t begin, int32_t end, int32_t k) {
  std::vector<int32_t> expected = naive_top_k(score, begin, end, k);
  if (expected.empty()) {
    CHECK(cut.score == kInfinity);
    CHECK(cut.last_tie == -1);
  } else {
    CHECK(cut.score == score[expected.back()]);
    CHECK(cut.last_tie == expected.back());
    CHECK_FALSE((cut.score == 0 && std::signbit(cut.score)));
  }
  std::vector<int32_t> taken;
  for (int32_t r = begin; r < end; ++r) {
    if (cut.takes(score[r], r)) taken.push_back(r);
  }
  std::sort(expected.begin(), expected.end());
  CHECK((taken == expected));
}

/// Top-k of one list: `zone` scores with NaN before and behind them, which are not to be looked at.
void check_top_k(Device& device, const Kind& kind, int32_t zone, int32_t k, uint64_t seed) {
  CAPTURE(kind.name);
  CAPTURE(zone);
  CAPTURE(k);
  TestZones zones({zone + 8});
  zones.begin = {5};
  zones.end = {5 + zone};
  zones.k = {k};
  TestLists lists(1, zone + 8);
  TestRandom random(seed);
  for (int32_t i = 0; i < zone; ++i) lists.list(0)[5 + i] = kind.score(i, random);
  device.top_k(zones.view(), lists.view());
  check_cut(lists.cut[0], lists.list(0), 5, 5 + zone, k);
}

/// Rows, masks, zones, scores and cuts for list_kept(), cuts being those of top_k().
struct Selection {
  Selection(const ModelConfig& c, int64_t n_lists, int32_t most_rows)
      : zones(rows_of(c, most_rows)), layer(c, zones.rows, 1, 31), lists(n_lists, most_rows) {
    TestRandom random(32);
    for (size_t h = 0; h < zones.rows.size(); ++h) {
      zones.begin[h] = static_cast<int32_t>(zones.rows[h] / 5);
      zones.end[h] = zones.rows[h] - zones.rows[h] / 7;
      zones.k[h] = zones.rows[h] / 4;
    }
    zones.begin[0] = zones.end[0] = 700;  // an empty zone: all rows are kept
    if (zones.rows.size() > 3) {          // a full one: only what is taken is kept
      zones.begin[3] = 0;
      zones.end[3] = zones.rows[3];
    }
    const int64_t per_head = lists.n / c.n_kv_heads;
    for (int64_t i = 0; i < lists.n; ++i) {
      for (int64_t r = 0; r < zones.rows[size_t(i / per_head)]; ++r) {
        lists.list(i)[r] = draw(random, 6) == 0 ? -kInfinity : float(draw(random, 50));
      }
    }
    make_cpu_device(c, 2)->top_k(zones.view(), lists.view());
  }

  static std::vector<int32_t> rows_of(const ModelConfig& c, int32_t most_rows) {
    std::vector<int32_t> rows(size_t(c.n_kv_heads), 311);
    rows[0] = most_rows;
    if (rows.size() > 2) rows[1] = 0;
    return rows;
  }

  TestZones zones;
  TestLayer layer;
  TestLists lists;
};

/// list_kept() against the sentence that says what it does.
void check_kept(const ModelConfig& c, int64_t n_lists, int32_t most_rows) {
  CAPTURE(c.n_heads);
  CAPTURE(c.n_kv_heads);
  CAPTURE(n_lists);
  Selection s(c, std::max(n_lists, c.n_kv_heads), most_rows);
  ScoreLists lists = s.lists.view();
  if (n_lists == 0) lists = {};
  TestKept kept(c.n_kv_heads, most_rows);
  make_cpu_device(c, 2)->list_kept(s.layer.view(), s.zones.view(), lists, kept.view());
  for (int64_t h = 0; h < c.n_kv_heads; ++h) {
    CAPTURE(h);
    const int32_t begin = s.zones.begin[size_t(h)], end = s.zones.end[size_t(h)];
    std::vector<uint32_t> takers(size_t(s.zones.rows[size_t(h)]), 0);
    const int64_t per_head = n_lists / c.n_kv_heads;
    for (int64_t j = 0; j < per_head; ++j) {
      const auto taken =
          naive_top_k(s.lists.list(h * per_head + j), begin, end, s.zones.k[size_t(h)]);
      for (const int32_t r : taken) takers[size_t(r)] |= 1U << j;
    }
    std::vector<int32_t> rows;
    std::vector<uint32_t> masks;
    for (int32_t r = 0; r < s.zones.rows[size_t(h)]; ++r) {
      const bool in_zone = r >= begin && r < end;
      if (in_zone && takers[size_t(r)] == 0) continue;
      const uint32_t mask = s.layer.mask[size_t(s.layer.first[size_t(h)] + r)];
      rows.push_back(r);
      masks.push_back(in_zone && n_lists == c.n_heads ? takers[size_t(r)] : mask);
    }
    CHECK(kept.count[size_t(h)] == static_cast<int32_t>(rows.size()));
    rows.resize(size_t(kept.stride), -9);  // behind them nothing is written
    masks.resize(size_t(kept.stride), TestLayer::kNoMask);
    const auto at = h * kept.stride;
    CHECK(std::equal(rows.begin(), rows.end(), kept.row.begin() + at));
    CHECK(std::equal(masks.begin(), masks.end(), kept.mask.begin() + at));
  }
}

}  // namespace

TEST_CASE("top-k takes what a sort takes: many sizes, k from none to more than there are") {
  const auto device = make_cpu_device(attention_shape(1, 1, 2), 2);
  for (const Kind& kind : kinds()) {
    for (const int32_t zone : {1, 2, 3, 7, 31, 64, 257, 1000, 4099}) {
      for (const int32_t k : {0, 1, 2, zone / 3, zone - 1, zone, zone + 1, 3 * zone}) {
        check_top_k(*device, kind, zone, k, uint64_t(zone));
      }
    }
  }
}

TEST_CASE("top-k of up to 200,000 scores") {
  const auto device = make_cpu_device(attention_shape(1, 1, 2), 2);
  for (const Kind& kind : kinds()) {
    check_top_k(*device, kind, 65'537, 2048, 1);
    check_top_k(*device, kind, 200'000, 199'999, 2);
    check_top_k(*device, kind, 200'000, 8192, 3);
  }
}

TEST_CASE("top-k of an empty zone takes nothing, whatever k is") {
  const auto device = make_cpu_device(attention_shape(1, 1, 2), 2);
  check_top_k(*device, kinds()[0], 0, 0, 1);
  check_top_k(*device, kinds()[0], 0, 5, 1);
}

TEST_CASE("a NaN anywhere in the zone gives a cut of NaN, which takes nothing") {
  const auto device = make_cpu_device(attention_shape(1, 1, 2), 2);
  TestZones zones({300});
  zones.begin = {20};
  zones.end = {280};
  for (const float nan : {kNaN, -kNaN}) {
    for (const int32_t at : {20, 21, 150, 279}) {
      for (const int32_t k : {0, 1, 100, 260, 1000}) {
        CAPTURE(at);
        CAPTURE(k);
        zones.k = {k};
        TestLists lists(1, 300);
        for (int64_t r = 0; r < 300; ++r) lists.list(0)[r] = float(r % 17);
        lists.list(0)[at] = nan;
        device->top_k(zones.view(), lists.view());
        CHECK(std::isnan(lists.cut[0].score));
        CHECK_FALSE(lists.cut[0].takes(kInfinity, 0));
        CHECK_FALSE(lists.cut[0].takes(16, 33));
      }
    }
  }
}

TEST_CASE("top-k of many lists: each KV head has its own zone and k, each list its own cut") {
  const ModelConfig c = attention_shape(12, 4, 2);
  const auto device = make_cpu_device(c, 2);
  for (const int64_t n_lists : {12, 4}) {
    for (const int32_t size : {100, 40'000}) {  // one thread, and two
      TestZones zones({size, size / 2, 1, size - 1});
      zones.begin = {3, 0, 1, 7};
      zones.end = {size - 5, size / 2, 1, 9};
      zones.k = {size / 10, 1, 4, 1};
      TestLists lists(n_lists, size);
      TestRandom random(33);
      for (float& score : lists.score) score = float(draw(random, size));
      device->top_k(zones.view(), lists.view());
      for (int64_t i = 0; i < n_lists; ++i) {
        const size_t h = size_t(i / (n_lists / 4));
        check_cut(lists.cut[size_t(i)], lists.list(i), zones.begin[h], zones.end[h], zones.k[h]);
      }
    }
  }
}

TEST_CASE("kept rows: ascending, exactly those outside of the zone and those taken, with masks") {
  for (const ModelConfig& c : attention_shapes()) {
    check_kept(c, c.n_heads, 1999);
    check_kept(c, c.n_kv_heads, 1999);
    check_kept(c, 0, 1999);
  }
  check_kept(attention_shape(12, 2, 2), 12, 100'000);  // enough for two threads
}

TEST_CASE("a list that takes a row which the mask hides from all: kept, and hidden still") {
  const ModelConfig c = attention_shape(4, 2, 2);
  TestLayer layer(c, {3, 3}, 1, 34);
  layer.mask[size_t(layer.first[1] + 1)] = 0;
  const TestZones zones({3, 3});
  TestLists lists(2, 3);
  std::fill(lists.score.begin(), lists.score.end(), 1.0F);
  lists.cut.assign(2, Cut{.score = 1, .last_tie = 1});
  TestKept kept(2, 3);
  make_cpu_device(c, 2)->list_kept(layer.view(), zones.view(), lists.view(), kept.view());
  CHECK(kept.count == std::vector<int32_t>{2, 2});
  CHECK(kept.row[size_t(kept.stride + 1)] == 1);
  CHECK(kept.mask[size_t(kept.stride + 1)] == 0);
}
