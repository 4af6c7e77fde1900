// Scores and choices by a window of queries against those that NumPy made of the papers' formulas.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "src/kv/policy.h"
#include "src/output_factor.h"
#include "tests/support/score_fixture.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// What methods read of a layer beside its rows.
struct WindowScene {
  WindowScene(const ScoreFixture& fixture, int64_t l, Device& device)
      : config(fixture.config),
        q(fixture.array("q", l)),
        wo(fixture.array("wo", l)),
        factor(poisoned(config.q_size() * config.head_dim)),
        spare{lists_for(fixture, config.n_heads), lists_for(fixture, config.n_heads)} {
    weights.o = {.data = wo.data(),
                 .type = DType::kF32,
                 .rows = config.hidden_size,
                 .cols = config.q_size()};
    device.output_grams(weights, factor.data());
    const int64_t size = config.head_dim * config.head_dim;
    for (int64_t head = 0; head < config.n_heads; ++head) {
      factor_gram({&factor[size_t(head * size)], size_t(size)}, config.head_dim);
    }
    weights.o_factor = factor.data();
  }

  LayerScene view(const ScoreFixture& fixture, TestLayer& layer, const TestZones& zones) {
    LayerScene scene;
    scene.n_layers = config.n_layers;
    scene.queries = &q[size_t((fixture.rows - fixture.window) * config.q_size())];
    scene.n_queries = fixture.window;
    scene.last_query = &q[size_t((fixture.rows - 1) * config.q_size())];
    scene.weights = &weights;
    scene.rows = layer.view();
    scene.zones = zones.view();
    scene.spare = {spare[0].view(), spare[1].view()};
    return scene;
  }

  ModelConfig config;
  std::vector<float> q, wo, factor;
  LayerWeights weights;
  TestLists spare[2];
};

/// The method's scores, one list a KV head.
TestLists score(const char* method, const ScoreFixture& fixture, int64_t l, TestLayer& layer,
                Device& device) {
  const auto policy = make_policy(method, {.chunk = int64_t(fixture.expected["chunk"])});
  REQUIRE(policy);
  WindowScene data(fixture, l, device);
  const TestZones zones = fixture.zones(0, fixture.window);
  const LayerScene scene = data.view(fixture, layer, zones);
  TestLists lists = lists_for(fixture, fixture.config.n_kv_heads);
  if (policy->scores_kv_heads()) {
    policy->score(device, scene, lists.view());
  } else {
    TestLists heads = lists_for(fixture, fixture.config.n_heads);
    policy->score(device, scene, heads.view());
    device.group_scores(heads.view(), GroupScore::kMean, zones.view(), lists.view());
  }
  return lists;
}

std::vector<float> for_each_head(const std::vector<float>& list, int64_t n) {
  std::vector<float> all;
  for (int64_t i = 0; i < n; ++i) all.insert(all.end(), list.begin(), list.end());
  return all;
}

}  // namespace

TEST_CASE("score fixtures: attention of the window, and sizes of values") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    WindowScene data(fixture, l, device);
    const TestZones zones = fixture.zones(0, fixture.window);
    const LayerScene scene = data.view(fixture, layer, zones);
    TestLists lists = lists_for(fixture, fixture.config.n_heads);
    const std::pair<WindowSum, const char*> sums[] = {{WindowSum::kSum, "window_sum"},
                                                      {WindowSum::kMean, "window_mean"},
                                                      {WindowSum::kNorm, "window_norm"}};
    for (const auto& [how, name] : sums) {
      CAPTURE(name);
      device.window_attention(scene.queries, scene.n_queries, scene.rows, scene.zones, how,
                              lists.view());
      CHECK(error_of(lists, fixture.array(name, l), fixture.rows) < 5e-6);
    }
    const std::pair<ValueNorm, const char*> norms[] = {{ValueNorm::kValue, "value_norm"},
                                                       {ValueNorm::kOutput, "output_norm"},
                                                       {ValueNorm::kOutputL1, "output_norm_l1"}};
    for (const auto& [how, name] : norms) {
      CAPTURE(name);
      device.value_norms(*scene.weights, scene.rows, scene.zones, how, lists.view());
      CHECK(error_of(lists, fixture.array(name, l), fixture.rows) < 5e-6);
    }
  });
}

TEST_CASE("score fixtures: snapkv, adakv, laprox and chunkkv score as the formulas do") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    const int64_t old = fixture.rows - fixture.window;
    for (const char* name : {"snapkv", "adakv", "laprox"}) {
      CAPTURE(name);
      TestLists lists = score(name, fixture, l, layer, device);
      CHECK(error_of(lists, fixture.array(name, l), old) < 5e-6);
    }
    TestLists lists = score("chunkkv", fixture, l, layer, device);
    CHECK(error_of(lists, for_each_head(fixture.array("chunkkv", l), lists.n), old) < 5e-6);
  });
}

TEST_CASE("score fixtures: snapkv, criticalkv and chunkkv keep the same rows") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    for (const char* name : {"snapkv", "criticalkv", "chunkkv"}) {
      CAPTURE(name);
      TestLists lists = score(name, fixture, l, layer, device);
      CHECK(rows_kept(device, layer, fixture.zones(0, fixture.window), lists) ==
            expected_rows(fixture, l, name));
    }
  });
}

TEST_CASE("score fixtures: adakv's heads keep the same rows, of the shares that they have there") {
  for_layers([](const ScoreFixture& fixture, int64_t l, TestLayer& layer, Device& device) {
    const Json& expected = fixture.expected["layers"][size_t(l)]["adakv"];
    TestZones zones = fixture.zones(0, fixture.window);
    zones.k = expected["capacity"].get<std::vector<int32_t>>();
    TestLists lists = score("adakv", fixture, l, layer, device);
    CHECK(rows_kept(device, layer, zones, lists) == expected["kept"].get<RowLists>());
  });
}

TEST_CASE("score fixtures: laprox's one cut through both layers keeps the same rows") {
  for (const char* name : kScoreFixtures) {
    CAPTURE(name);
    const ScoreFixture fixture(name);
    const auto device = make_cpu_device(fixture.config, 2);
    const int64_t heads = fixture.config.n_kv_heads, old = fixture.rows - fixture.window;
    std::vector<float> all;  // [n_layers, n_kv_heads, old]
    for (int64_t l = 0; l < fixture.config.n_layers; ++l) {
      TestLayer layer = fixture.layer(l);
      TestLists lists = score("laprox", fixture, l, layer, *device);
      for (int64_t h = 0; h < heads; ++h) {
        all.insert(all.end(), lists.list(h), lists.list(h) + old);
      }
    }
    std::vector<int64_t> order(all.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return all[size_t(a)] > all[size_t(b)]; });
    order.resize(size_t(fixture.config.n_layers * heads * (fixture.budget - fixture.window)));
    std::sort(order.begin(), order.end());
    std::vector<RowLists> kept(size_t(fixture.config.n_layers), RowLists(size_t(heads)));
    for (const int64_t at : order) {
      kept[size_t(at / old / heads)][size_t(at / old % heads)].push_back(int32_t(at % old));
    }
    for (RowLists& lists : kept) {
      for (std::vector<int32_t>& rows : lists) {
        for (int64_t r = old; r < fixture.rows; ++r) rows.push_back(int32_t(r));
      }
    }
    CHECK(kept == fixture.expected["laprox"].get<std::vector<RowLists>>());
  }
}

TEST_CASE("score fixtures: pyramidkv's shares are those of the line, rounded") {
  const ScoreFixture fixture("gqa");
  const auto policy = make_policy("pyramidkv");
  for (const Json& pyramid : fixture.expected["pyramidkv"]) {
    const int64_t n_layers = pyramid["n_layers"], k = pyramid["k"];
    CAPTURE(k);
    int64_t sum = 0;
    for (int64_t l = 0; l < n_layers; ++l) {
      const int64_t share = policy->layer_k(k, l, n_layers, pyramid["candidates"]);
      CHECK(std::fabs(double(share) - pyramid["layer_k"][size_t(l)].get<double>()) <= 1.5);
      sum += share;
    }
    CHECK(sum == n_layers * k);
  }
}
