// The methods that look at a window of queries, on the CPU device: their scores against their
// formulas in double precision, and how they divide a budget.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/cpu/cpu_device.h"
#include "src/kv/policy.h"
#include "tests/support/score_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using Scores = std::vector<double>;  // of one list

/// Two KV heads of two query heads, a zone in the midst of each, and what a method may use.
struct PolicyScene {
  PolicyScene(int32_t n, uint64_t seed)
      : config(attention_shape(4, 2, 8)),
        window(config, {700, 90}, n, 0, seed),
        output(config, 30, seed + 2),
        weights(output.view()),
        spares{TestLists(4, 700), TestLists(4, 700)},
        device(make_cpu_device(config, 2)) {
    window.zones.begin = {3, 0};
    window.zones.end = {660, 71};
    window.zones.k = {40, 9};
  }

  /// The method's lists: n of them.
  TestLists score(std::string_view name, const PolicyOptions& options, int64_t n) {
    const auto policy = make_policy(name, options);
    REQUIRE(policy);
    REQUIRE((policy->scores_kv_heads() ? 2 : 4) == n);
    TestLists lists(n, 700);
    LayerScene scene;
    scene.layer = 1;
    scene.n_layers = 4;
    scene.queries = window.queries.data();
    scene.n_queries = window.n;
    scene.weights = &weights;
    scene.rows = window.rows();
    scene.zones = window.zones.view();
    for (int i = 0; i < policy->needs().spares; ++i) scene.spare[size_t(i)] = spares[i].view();
    policy->score(*device, scene, lists.view());
    return lists;
  }

  /// f of every query head, for the rows of the zone; NaN elsewhere.
  Scores attention(int64_t head, WindowSum how) {
    const size_t h = size_t(head / 2);
    Scores scores = window.naive(head, how);
    for (int64_t r = 0; r < std::ssize(scores); ++r) {
      if (r < window.zones.begin[h] || r >= window.zones.end[h]) scores[size_t(r)] = NAN;
    }
    return scores;
  }
  Scores norms(int64_t head, ValueNorm how) const {
    const size_t h = size_t(head / 2);
    Scores norms;
    for (int64_t r = 0; r < window.zones.rows[h]; ++r) {
      const float* v = &window.layer.v[size_t((window.layer.first[h] + r) * config.head_dim)];
      norms.push_back(window.layer.sees(head, r) ? output.norm(config, v, head, how) : -INFINITY);
    }
    return norms;
  }

  ModelConfig config;
  WindowScene window;
  TestOutput output;
  LayerWeights weights;
  TestLists spares[2];
  std::unique_ptr<Device> device;
};

/// NaN: not in the zone.
Scores pooled(const Scores& scores, int64_t width, Pool how) {
  Scores out = scores;
  for (int64_t r = 0; r < std::ssize(scores); ++r) {
    double sum = 0, max = -INFINITY;
    for (int64_t at = r - width / 2; at <= r + width / 2; ++at) {
      if (at < 0 || at >= std::ssize(scores) || !std::isfinite(scores[size_t(at)])) continue;
      sum += scores[size_t(at)];
      max = std::max(max, scores[size_t(at)]);
    }
    if (std::isfinite(out[size_t(r)]))
      out[size_t(r)] = how == Pool::kMax ? max : sum / double(width);
  }
  return out;
}

Scores mean_of(const Scores& a, const Scores& b) {
  Scores out;
  for (size_t r = 0; r < a.size(); ++r) {
    const double x = a[r] == -INFINITY ? 0.0 : a[r], y = b[r] == -INFINITY ? 0.0 : b[r];
    out.push_back(a[r] == -INFINITY && b[r] == -INFINITY ? -INFINITY : (x + y) / 2);
  }
  return out;
}

Scores product(const Scores& a, const Scores& b) {
  Scores out;
  for (size_t r = 0; r < a.size(); ++r) out.push_back(a[r] == -INFINITY ? a[r] : a[r] * b[r]);
  return out;
}

/// The zone's rows of a list against what is expected of them.
void check(TestLists& lists, int64_t list, const Scores& expected) {
  double worst = 0;
  for (size_t r = 0; r < expected.size(); ++r) {
    if (!std::isnan(expected[r])) {
      worst = std::max(worst, worst_score(lists.list(list) + r, {expected[r]}));
    }
  }
  CHECK(worst < 5e-5);
}

/// p of laprox: the column's length times the value's.
Scores laprox_terms(PolicyScene& scene, int64_t head, ScoreTerms terms, bool pool_first) {
  Scores p = scene.attention(head, WindowSum::kNorm);
  if (pool_first) p = pooled(p, 7, Pool::kAverage);
  if (terms == ScoreTerms::kAttention) return p;
  const bool output = terms == ScoreTerms::kOutput;
  return product(p, scene.norms(head, output ? ValueNorm::kOutput : ValueNorm::kValue));
}

void check_laprox(const PolicyOptions& options) {
  PolicyScene scene(32, 5);
  TestLists lists = scene.score("laprox", options, 2);
  const bool pool_first = options.pool_attention.value_or(false);
  const ScoreTerms terms = options.terms.value_or(ScoreTerms::kOutput);
  Scores expected[2];
  double sum = 0;
  for (int64_t h = 0; h < 2; ++h) {
    expected[h] = mean_of(laprox_terms(scene, 2 * h, terms, pool_first),
                          laprox_terms(scene, 2 * h + 1, terms, pool_first));
    if (!pool_first) expected[h] = pooled(expected[h], 7, Pool::kAverage);
    for (const double s : expected[h]) sum += std::isfinite(s) ? s : 0.0;
  }
  for (int64_t h = 0; h < 2; ++h) {
    if (options.normalize.value_or(true)) {
      for (double& s : expected[h]) s /= sum;
    }
    check(lists, h, expected[h]);
  }
}

}  // namespace

TEST_CASE("snapkv and pyramidkv: attention summed over the window, the greatest around each row") {
  for (const char* name : {"snapkv", "pyramidkv"}) {
    for (const int64_t pool : {1, 7}) {
      PolicyScene scene(32, 1);
      TestLists lists = scene.score(name, {.pool = pool}, 4);
      for (int64_t head = 0; head < 4; ++head) {
        check(lists, head, pooled(scene.attention(head, WindowSum::kSum), pool, Pool::kMax));
      }
    }
  }
}

TEST_CASE("adakv: the mean over window and group, the greatest around each row") {
  PolicyScene scene(20, 2);
  TestLists lists = scene.score("adakv", {}, 2);
  for (int64_t h = 0; h < 2; ++h) {
    const Scores mean = mean_of(scene.attention(2 * h, WindowSum::kMean),
                                scene.attention(2 * h + 1, WindowSum::kMean));
    check(lists, h, pooled(mean, 7, Pool::kMax));
  }
}

TEST_CASE("criticalkv: half of k by attention, then what the value adds to the output counts") {
  PolicyScene scene(32, 3);
  TestLists lists = scene.score("criticalkv", {}, 2);
  for (int64_t h = 0; h < 2; ++h) {
    const auto pooled_head = [&](int64_t head) {
      return pooled(scene.attention(head, WindowSum::kMean), 7, Pool::kMax);
    };
    Scores expected = mean_of(pooled_head(2 * h), pooled_head(2 * h + 1));
    const Scores norms = mean_of(scene.norms(2 * h, ValueNorm::kOutputL1),
                                 scene.norms(2 * h + 1, ValueNorm::kOutputL1));
    const int32_t promoted = scene.window.zones.k[size_t(h)] / 2;
    int32_t infinite = 0;
    double least_promoted = INFINITY, most_left = -INFINITY;
    for (size_t r = 0; r < expected.size(); ++r) {
      if (std::isnan(expected[r])) continue;
      if (lists.at(h, int64_t(r)) == INFINITY) {
        ++infinite;
        least_promoted = std::min(least_promoted, expected[r]);
        expected[r] = INFINITY;
      } else {
        most_left = std::max(most_left, expected[r]);
        if (expected[r] != -INFINITY) expected[r] = (expected[r] + 1e-4) * norms[r];
      }
    }
    CHECK(infinite == promoted);
    CHECK(least_promoted >= most_left * (1 - 1e-5));
    check(lists, h, expected);
  }
}

TEST_CASE("laprox: column times value through the output matrix; and what is left without parts") {
  check_laprox({});
  check_laprox({.normalize = false});
  check_laprox({.pool_attention = true});
  for (const ScoreTerms terms : {ScoreTerms::kAttention, ScoreTerms::kValue}) {
    check_laprox({.terms = terms});
    check_laprox({.terms = terms, .normalize = false, .pool_attention = true});
  }
}

TEST_CASE("methods of a window keep it, and share the rest of the budget out") {
  for (const char* name : {"snapkv", "pyramidkv", "adakv", "criticalkv", "laprox"}) {
    CAPTURE(std::string(name));
    const auto policy = make_policy(name);
    CHECK(policy->name() == name);
    CHECK(policy->group() == Group::kMean);
    CHECK(policy->needs().queries == 32);
    CHECK(policy->decode_rule() == DecodeRule::kAppend);
    const Shares one = policy->shares(128, 4, 1);
    CHECK(one.sink == 0);
    CHECK(one.k == 96);
    CHECK(one.recent == 32);
    const Shares four = make_policy(name, {.window = 8})->shares(131, 4, 4);
    CHECK(four.k == 30);
    CHECK(four.recent == 11);
  }
  CHECK(make_policy("laprox")->cut() == CutScope::kModel);
  CHECK(make_policy("laprox")->needs().o_factors);
  CHECK_FALSE(make_policy("laprox", {.terms = ScoreTerms::kValue})->needs().o_factors);
  CHECK(make_policy("adakv")->cut() == CutScope::kLayer);
  CHECK(make_policy("adakv")->floor() == 0.2);
}

TEST_CASE("pyramidkv's budgets fall from layer to layer and are as large together as snapkv's") {
  const auto policy = make_policy("pyramidkv");
  for (const int64_t n_layers : {1, 2, 3, 28, 32}) {
    for (const int64_t k : {1, 19, 96, 480, 2016}) {
      for (const int64_t candidates : {k, k + 1, 3 * k / 2 + 1, 100 * k}) {
        CAPTURE(n_layers);
        CAPTURE(k);
        CAPTURE(candidates);
        std::vector<int64_t> of;
        for (int64_t l = 0; l < n_layers; ++l) {
          of.push_back(policy->layer_k(k, l, n_layers, candidates));
        }
        CHECK(std::accumulate(of.begin(), of.end(), int64_t{0}) == n_layers * k);
        CHECK(of.front() <= std::min(policy->most_layer_k(k), candidates));
        CHECK(of.back() >= 0);
        for (size_t l = 1; l < of.size(); ++l) CHECK(of[l] <= of[l - 1] + 1);
      }
    }
  }
  // beta 20: 96 on average, from 188 down to 4.
  CHECK(policy->layer_k(96, 0, 32, 10'000) == 188);
  CHECK(policy->layer_k(96, 31, 32, 10'000) == 4);
}
