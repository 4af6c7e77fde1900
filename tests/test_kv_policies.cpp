// The eviction methods: what they are called, and what they score rows by.
#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "src/cpu/cpu_device.h"
#include "src/kv/policy.h"
#include "tests/support/expect_error.h"
#include "tests/support/kv_steps.h"

namespace winnow::test {
namespace {

/// A layer of ragged heads, and what a device needs to score it.
struct ScoredLayer {
  ModelConfig config = attention_shape(6, 2, 10);
  std::unique_ptr<Device> device = make_cpu_device(config, 1);
  TestLayer rows{config, {37, 20}, 4, 1};
  TestZones zones{{37, 20}};
  std::vector<float> query = random_floats(config.q_size(), 2);

  LayerScene scene(int64_t layer) {
    return {.layer = layer, .last_query = query.data(), .rows = rows.view(), .zones = zones.view()};
  }

  std::vector<float> scores(const Policy& policy, int64_t layer) {
    TestLists lists(config.n_heads, 37);
    policy.score(*device, scene(layer), lists.view());
    return lists.score;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("kv policies: each is made by its name") {
  const std::vector<std::string_view> names = policy_names();
  CHECK(std::set<std::string_view>(names.begin(), names.end()).size() == names.size());
  CHECK(names.front() == "full");
  for (const std::string_view name : names) CHECK(make_policy(name)->name() == name);
  for (const char* name : {"", "Sage", "sage ", "snap"}) CHECK(make_policy(name) == nullptr);
}

TEST_CASE("kv policies: what each says of itself") {
  for (const std::string_view name : policy_names()) {
    CAPTURE(std::string(name));
    const auto policy = make_policy(name);
    CHECK(policy->scores_rows() == (name != "full" && name != "streaming" && name != "quest"));
    CHECK_FALSE((policy->scores_kv_heads() && policy->group() == Group::kHead));
    CHECK_FALSE((policy->cut() != CutScope::kList && policy->group() == Group::kHead));
    CHECK(policy->needs().queries <= kMaxQueries);
    const Shares shares = policy->shares(256, 4, lists_of(policy->group(), 4));
    CHECK(shares.sink + lists_of(policy->group(), 4) * shares.k + shares.recent == 256);
    CHECK(policy->most_layer_k(100) >= policy->layer_k(100, 0, 8, 1000));
  }
  for (const char* name : {"sage", "streaming", "random"}) {
    CHECK(make_policy(name)->decode_rule() == DecodeRule::kRing);
  }
  for (const char* name : {"full", "quest"}) {
    CHECK(make_policy(name)->decode_rule() == DecodeRule::kAppend);
  }
  CHECK(make_policy("h2o")->decode_rule() == DecodeRule::kReplaceLeast);
  CHECK(make_policy("quest")->paging(100) == Paging{.n_read = 6, .dense_layers = 2});
  CHECK(make_policy("quest")->paging(1).n_read == 3);
  const Shares all = make_policy("full")->shares(100, 4, 4);
  CHECK(all.sink + all.k == 0);
  CHECK(all.recent == 100);
}

TEST_CASE("kv policies: sage scores by the attention of the last query") {
  ScoredLayer layer;
  TestLists expected(layer.config.n_heads, 37);
  layer.device->attention_scores(layer.query.data(), layer.rows.view(), layer.zones.view(),
                                 expected.view());
  for (const int64_t l : {0, 5}) {
    CHECK(same_bits(layer.scores(*make_policy("sage"), l), expected.score));
    CHECK(same_bits(layer.scores(*make_policy("sage", {.seed = 9}), l), expected.score));
  }
  layer.query[0] += 1;
  CHECK_FALSE(same_bits(layer.scores(*make_policy("sage"), 0), expected.score));
}

TEST_CASE("kv policies: random draws anew for every seed and layer, and the same for the same") {
  ScoredLayer layer;
  constexpr uint64_t kPhi = 0x9e3779b97f4a7c15U;  // the step from layer to layer
  std::set<std::vector<float>> seen;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, kPhi, 2 * kPhi, ~uint64_t{0}}) {
    for (const int64_t l : {0, 1, 2, 31}) {
      std::vector<float> scores = layer.scores(*make_policy("random", {.seed = seed}), l);
      CHECK(same_bits(scores, layer.scores(*make_policy("random", {.seed = seed}), l)));
      scores.resize(20);  // of the first list; no NaN among them
      seen.insert(scores);
    }
  }
  CHECK(seen.size() == 5 * 4);
}

TEST_CASE("kv policies: methods without scores refuse to give any") {
  ScoredLayer layer;
  for (const char* name : {"full", "streaming", "quest"}) {
    expect_error(ExitCode::kInternal, {name, "scores no rows"},
                 [&] { layer.scores(*make_policy(name), 0); });
  }
}

}  // namespace
}  // namespace winnow::test
