// The CPU's steps of methods that go on choosing while text is written, against their definitions.
// What is no row's is poisoned, and must stay so.
#include <doctest/doctest.h>

#include <cstring>
#include <limits>

#include "src/cpu/cpu_device.h"
#include "src/kv/policy.h"
#include "tests/support/decode_steps.h"
#include "tests/support/score_fixture.h"

namespace winnow::test {
namespace {

/// Same numbers, and NaN where the other has it.
double error_of(const std::vector<float>& actual, const std::vector<double>& expected) {
  std::vector<double> a, e;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) != std::isnan(actual[i])) return NAN;
    if (std::isnan(expected[i])) continue;
    a.push_back(actual[i]);
    e.push_back(expected[i]);
  }
  return nmse(a, e);
}

TEST_CASE("decode steps: what rows get of attention") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const SumSizes& size : sum_sizes(c.n_kv_heads)) {
      CAPTURE(c.n_heads);
      CAPTURE(c.head_dim);
      CAPTURE(size.n);
      SumCase test(c, size.held, size.n, size.appended, size.window, 5);
      const auto [expected_lse, expected] = test.naive();
      const auto run = [&](int threads) {
        SumCase copy = test;
        std::vector<float> lse = poisoned(c.n_heads * size.n);
        std::vector<float> out = poisoned(size.n * c.q_size());
        Batch batch{.n = size.n};
        Activations a;
        a.q = copy.q.data();
        a.attention = out.data();
        a.lse = lse.data();
        const auto device = make_cpu_device(c, threads);
        device->attention(batch, a, copy.view());
        device->add_column_sums(batch, a, copy.view());
        CHECK(error_of(lse, expected_lse) < 1e-11);
        return copy.score;
      };
      const std::vector<float> once = run(1);
      CHECK(error_of(once, expected) < 1e-11);
      const std::vector<float> twice = run(2);
      CHECK(std::memcmp(once.data(), twice.data(), once.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("decode steps: the row that a token goes over") {
  const ModelConfig c = attention_shape(8, 4, 6);
  const auto device = make_cpu_device(c, 1);
  for (const int64_t recent : {0, 1, 300, 2000}) {
    for (const uint64_t seed : {1, 2, 3}) {
      SlotCase test(c, {1, 700, 37, 512}, seed);
      const std::vector<float> before = test.score;
      for (const int32_t stopped : {1, 0}) {
        const Batch batch{.n = 1, .position = &test.position, .stopped = &stopped};
        std::vector<int32_t> slot(4, -5);
        device->choose_slots(batch, test.view(), recent, slot.data());
        for (size_t h = 0; h < 4; ++h) {
          SlotCase original = test;
          original.score = before;
          CHECK(slot[h] == (stopped == 1 ? -5 : original.naive(h, recent)));
          if (stopped == 1) continue;
          CHECK(test.score[size_t(test.layer.first[h] + slot[h])] == 0);
        }
      }
      size_t changed = 0;
      for (size_t i = 0; i < before.size(); ++i) {
        changed += std::memcmp(&before[i], &test.score[i], sizeof(float)) != 0;
      }
      CHECK(changed <= 4);
    }
  }
}

TEST_CASE("decode steps: pages are summarized, scored and read") {
  for (const ModelConfig& c : attention_shapes()) {
    const auto device = make_cpu_device(c, 2);
    for (const int64_t window : {0, 70}) {
      std::vector<int32_t> held;
      for (int64_t h = 0; h < c.n_kv_heads; ++h) held.push_back(int32_t(h % 3 == 0 ? 300 : 15 * h));
      PageCase test(c, held, 5, window, 9);
      const KvRows kv = test.view();
      const Batch batch{.n = 1};
      device->summarize_pages(kv);
      device->join_page(batch, kv);
      device->score_pages(test.q.data(), kv);
      device->top_k(page_zones(kv.pages, c.n_kv_heads), page_lists(kv.pages, c.n_heads));
      device->mask_pages(kv);
      CAPTURE(c.n_heads);
      const std::vector<uint32_t> expected = test.naive();
      CHECK(test.mask == expected);
      // Row by row the summaries become the same.
      const std::vector<float> at_once = test.keys;
      std::fill(test.keys.begin(), test.keys.end(), std::numeric_limits<float>::quiet_NaN());
      for (int32_t r = 0; r <= int32_t(PageCase::most(held)); ++r) {
        for (size_t h = 0; h < held.size(); ++h) test.layer.slot[h] = std::min(r, held[h]);
        device->join_page(batch, test.view());
      }
      CHECK(std::memcmp(at_once.data(), test.keys.data(), at_once.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("decode steps: h2o scores rows as NumPy does, a prompt in chunks") {
  for (const char* name : {"gqa", "odd"}) {
    const ScoreFixture fixture(name);
    const ModelConfig& c = fixture.config;
    const auto device = make_cpu_device(c, 2);
    const auto policy = make_policy("h2o");
    for (int64_t l = 0; l < c.n_layers; ++l) {
      CAPTURE(name);
      TestLayer layer = fixture.layer(l);
      std::vector<float> q = fixture.array("q", l), score(layer.mask.size(), 0.0F);
      layer.slot.assign(layer.slot.size(), 0);
      layer.visible.assign(layer.visible.size(), 1);
      for (int64_t first = 0; first < fixture.rows; first += 50) {
        const int64_t n = std::min<int64_t>(50, fixture.rows - first);
        std::vector<float> lse = poisoned(n * c.n_heads), out = poisoned(n * c.q_size());
        Activations a;
        a.q = &q[size_t(first * c.q_size())];
        a.attention = out.data();
        a.lse = lse.data();
        KvRows kv = layer.view(first);
        kv.score = score.data();
        device->attention({.n = n}, a, kv);
        device->add_column_sums({.n = n}, a, kv);
      }
      const Shares shares = policy->shares(fixture.budget, c.group(), 1);
      const TestZones zones = fixture.zones(shares.sink, shares.recent);
      TestLists lists(c.n_kv_heads, fixture.rows);
      LayerScene scene{.rows = layer.view(), .zones = zones.view()};
      scene.rows.score = score.data();
      policy->score(*device, scene, lists.view());
      const std::vector<float> sums = fixture.array("accumulated", l);
      for (int64_t h = 0; h < c.n_kv_heads; ++h) {
        std::vector<double> actual, expected(size_t(fixture.rows), 0.0);
        for (int64_t r = 0; r < fixture.rows; ++r) {
          actual.push_back(lists.at(h, r));
          for (int64_t head = h * c.group(); head < (h + 1) * c.group(); ++head) {
            expected[size_t(r)] += sums[size_t(head * fixture.rows + r)] / double(c.group());
          }
        }
        CHECK(nmse(actual, expected) < 1e-11);
      }
    }
  }
}

}  // namespace
}  // namespace winnow::test
