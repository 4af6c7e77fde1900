// The methods that look at keys, at one set for all heads, and at queries to come: their shares,
// and that they score by the device's steps.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "src/cpu/cpu_device.h"
#include "src/kv/expected.h"
#include "src/kv/keydiff.h"
#include "src/kv/knorm.h"
#include "src/kv/tova.h"
#include "tests/support/query_cases.h"

namespace winnow::test {
namespace {

/// A layer whose heads hold the same tokens, and what a method may ask for beside them.
struct Scene {
  ModelConfig config = attention_shape(6, 2, 10);
  std::unique_ptr<Device> device = make_cpu_device(config, 1);
  ExpectedCase rows{config, {90, 90}, 1};
  QueryCase queries{config, 90, 0, 2};
  TestStatistics statistics{config};
  TestLists spare[2] = {rows.head_lists(), rows.head_lists()};

  Scene() { queries.add_to(*device, statistics, {90}); }

  LayerScene view() {
    return {.n_layers = 1,
            .last_query = &queries.rotated[size_t(89 * config.q_size())],
            .rows = rows.rows(),
            .zones = rows.zones.view(),
            .spare = {spare[0].view(), spare[1].view()},
            .statistics = statistics.view(),
            .outlook = {.n_queries = QueryStatistics::counted(0, 90), .position = 90}};
  }

  std::vector<float> scores(const Policy& policy) {
    CHECK(policy.scores_kv_heads());
    TestLists lists = rows.kv_lists();
    policy.score(*device, view(), lists.view());
    return lists.score;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("key methods: shares add up to the budget, and the last row stays") {
  const KNorm knorm;
  const KeyDiff keydiff;
  const Tova tova;
  const Expected expected;
  for (const Policy* policy :
       {static_cast<const Policy*>(&knorm), static_cast<const Policy*>(&keydiff),
        static_cast<const Policy*>(&tova), static_cast<const Policy*>(&expected)}) {
    CAPTURE(std::string(policy->name()));
    const Shares shares = policy->shares(100, 3, 1);
    CHECK(shares.sink + shares.k + shares.recent == 100);
    CHECK(shares.sink == (policy == &expected ? 4 : 0));
    CHECK(shares.recent == 1);
    CHECK(policy->decode_rule() == DecodeRule::kAppend);
    CHECK(lists_of(policy->group(), 3) == 1);
  }
}

TEST_CASE("key methods: knorm, keydiff and expected are one step of the device each") {
  Scene scene;
  TestLists lists = scene.rows.kv_lists();
  const KvRows kv = scene.rows.rows();
  scene.device->key_norms(kv, scene.rows.zones.view(), lists.view());
  CHECK(same_bits(scene.scores(KNorm()), lists.score));
  scene.device->key_differences(kv, scene.rows.zones.view(), lists.view());
  CHECK(same_bits(scene.scores(KeyDiff()), lists.score));
  TestLists logits = scene.rows.head_lists();
  scene.device->expected_scores(scene.statistics.view(), {.n_queries = 86, .position = 90}, kv,
                                scene.rows.zones.view(), logits.view(), lists.view());
  CHECK(same_bits(scene.scores(Expected()), lists.score));
  CHECK_FALSE(same_bits(scene.scores(KeyDiff()), lists.score));
}

TEST_CASE("key methods: tova scores by the mean of all query heads, alike in all KV heads") {
  Scene scene;
  scene.rows.window = 0;
  std::fill(scene.rows.layer.mask.begin(), scene.rows.layer.mask.end(), kSeenByAll);
  const ModelConfig& c = scene.config;
  std::vector<double> mean(90, 0.0);
  for (int64_t head = 0; head < c.n_heads; ++head) {
    const float* q = &scene.queries.rotated[size_t(89 * c.q_size() + head * c.head_dim)];
    std::vector<double> weight(90, 0.0);
    double total = 0;
    for (int64_t r = 0; r < 90; ++r) {
      const int64_t entry = scene.rows.layer.first[size_t(head / c.group())] + r;
      double dot = 0;
      for (int64_t d = 0; d < c.head_dim; ++d) {
        dot += double{q[d]} * scene.rows.layer.k[size_t(entry * c.head_dim + d)];
      }
      weight[size_t(r)] = std::exp(dot / std::sqrt(double(c.head_dim)));
      total += weight[size_t(r)];
    }
    for (size_t r = 0; r < 90; ++r) mean[r] += weight[r] / total / double(c.n_heads);
  }
  const std::vector<float> scores = scene.scores(Tova());
  const size_t stride = scores.size() / 2;
  for (size_t r = 0; r < 90; ++r) {
    CHECK(scores[r] == doctest::Approx(mean[r]).epsilon(1e-5));
    CHECK(scores[r] == scores[stride + r]);
  }
}

}  // namespace
}  // namespace winnow::test
