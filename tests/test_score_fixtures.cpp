// Scores and choices of the CPU device against those that NumPy made of the papers' formulas.
#include <doctest/doctest.h>

#include "tests/support/score_fixture.h"

using namespace winnow;
using namespace winnow::test;

TEST_CASE("score fixtures: knorm and keydiff") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    const TestZones zones = fixture.zones(0, 1);
    TestLists norms = lists_for(fixture, fixture.config.n_kv_heads);
    device.key_norms(layer.view(), zones.view(), norms.view());
    CHECK(error_of(norms, fixture.array("knorm", l), fixture.rows) < 1e-6);
    CHECK(rows_kept(device, layer, zones, norms) == expected_rows(fixture, l, "knorm"));
    TestLists cosines = lists_for(fixture, fixture.config.n_kv_heads);
    device.key_differences(layer.view(), zones.view(), cosines.view());
    CHECK(error_of(cosines, fixture.array("keydiff", l), fixture.rows) < 2e-6);
    CHECK(rows_kept(device, layer, zones, cosines) == expected_rows(fixture, l, "keydiff"));
  });
}

TEST_CASE("score fixtures: tova") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    const ModelConfig& c = fixture.config;
    const TestZones zones = fixture.zones(0, 1);
    const std::vector<float> q = fixture.array("q", l);
    TestLists heads = lists_for(fixture, c.n_heads), lists = lists_for(fixture, c.n_kv_heads);
    device.attention_scores(&q[size_t((fixture.rows - 1) * c.q_size())], layer.view(), zones.view(),
                            heads.view());
    device.combine_scores(heads.view(), GroupScore::kMean, zones.view(), lists.view());
    device.share_scores(zones.view(), lists.view());
    const std::vector<float> expected = fixture.array("tova", l);
    std::vector<float> all;
    for (int64_t h = 0; h < c.n_kv_heads; ++h) {
      all.insert(all.end(), expected.begin(), expected.end());
    }
    CHECK(error_of(lists, all, fixture.rows) < 5e-6);
    CHECK(rows_kept(device, layer, zones, lists) == expected_rows(fixture, l, "tova"));
  });
}

TEST_CASE("score fixtures: chunkkv's runs") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    const TestZones zones = fixture.zones(0, fixture.window);
    const std::vector<float> base = fixture.array("chunkkv_base", l);
    TestLists lists = lists_for(fixture, fixture.config.n_kv_heads);
    std::vector<float> expected;
    for (int64_t h = 0; h < lists.n; ++h) {
      std::copy(base.begin(), base.end(), lists.list(h));
      const std::vector<float> runs = fixture.array("chunkkv", l);
      expected.insert(expected.end(), runs.begin(), runs.end());
    }
    device.chunk_scores(zones.view(), fixture.expected["chunk"], lists.view());
    CHECK(error_of(lists, expected, fixture.rows - fixture.window) < 1e-6);
    CHECK(rows_kept(device, layer, zones, lists) == expected_rows(fixture, l, "chunkkv"));
  });
}

TEST_CASE("score fixtures: expected, in chunks") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    const ModelConfig& c = fixture.config;
    const TestZones zones = fixture.zones(QueryStatistics::kSkipped, 1);
    std::vector<float> q = fixture.array("q", l);
    std::vector<float> sum(size_t(c.q_size()), 0.0F);
    std::vector<float> products(size_t(c.q_size() * c.head_dim), 0.0F);
    const QueryStatistics statistics{.sum = sum.data(), .products = products.data()};
    std::vector<int32_t> position;
    for (int64_t r = 0; r < fixture.rows; ++r) position.push_back(int32_t(r));
    for (int64_t first = 0; first < fixture.rows; first += 50) {
      Activations a;
      a.q = &q[size_t(first * c.q_size())];
      device.add_query_statistics({.n = std::min<int64_t>(50, fixture.rows - first),
                                   .position = &position[size_t(first)],
                                   .length = fixture.rows},
                                  a, statistics);
    }
    const Outlook outlook{.n_queries = QueryStatistics::counted(0, fixture.rows),
                          .position = fixture.rows};
    TestLists logits = lists_for(fixture, c.n_heads), lists = lists_for(fixture, c.n_kv_heads);
    device.expected_scores(statistics, outlook, layer.view(), zones.view(), logits.view(),
                           lists.view());
    CHECK(error_of(logits, fixture.array("expected_logits", l), fixture.rows) < 1e-5);
    CHECK(error_of(lists, fixture.array("expected", l), fixture.rows) < 2e-5);
    CHECK(rows_kept(device, layer, zones, lists) == expected_rows(fixture, l, "expected"));
  });
}
