// Statistics of queries and the attention that they let expect, on the CPU device: against the
// formulas in double precision.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "src/cpu/cpu_device.h"
#include "src/cpu/ops.h"
#include "tests/support/query_cases.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using Doubles = std::vector<double>;

/// x turned by the mean of the rotations to [position, position + n), with their amplitude.
Doubles turned_on_average(const Doubles& x, const ModelConfig& c, int64_t position, int64_t n) {
  const int64_t half = c.head_dim / 2;
  const RopeFrequencies f = rope_frequencies(c, position + n);
  Doubles y(x.size(), 0.0);
  for (int64_t i = 0; i < half; ++i) {
    const auto low = size_t(i), high = size_t(half + i);
    for (int64_t place = position; place < position + n; ++place) {
      const double angle = double{f.value[i]} * double(place);
      y[low] += (x[low] * std::cos(angle) - x[high] * std::sin(angle)) * f.scale / double(n);
      y[high] += (x[high] * std::cos(angle) + x[low] * std::sin(angle)) * f.scale / double(n);
    }
  }
  return y;
}

struct Expectation {
  Doubles mean;
  std::vector<Doubles> covariance;  // rows
};

/// From the queries themselves: C is the mean of (q - m)(q - m)^T, and R C R^T that of R (q - m).
Expectation expectation(const ModelConfig& c, const QueryCase& queries, int64_t head,
                        const Outlook& outlook) {
  const auto d = size_t(c.head_dim);
  std::vector<Doubles> rows;
  Expectation e{Doubles(d, 0.0), std::vector<Doubles>(d, Doubles(d, 0.0))};
  for (int64_t i = 0; i < queries.n; ++i) {
    if (queries.position[size_t(i)] < 4) continue;
    const float* q = &queries.plain[size_t((i * c.n_heads + head) * c.head_dim)];
    rows.push_back(turned_on_average(Doubles(q, q + d), c, outlook.position, outlook.n_tokens));
  }
  const auto n = double(rows.size());
  for (const Doubles& row : rows) {
    for (size_t a = 0; a < d; ++a) e.mean[a] += row[a] / n;
  }
  for (const Doubles& row : rows) {
    for (size_t a = 0; a < d; ++a) {
      for (size_t b = 0; b < d; ++b) {
        e.covariance[a][b] += (row[a] - e.mean[a]) * (row[b] - e.mean[b]) / n;
      }
    }
  }
  return e;
}

double naive_logit(const Expectation& e, const float* key) {
  const auto d = double(e.mean.size());
  double z = 0;
  for (size_t a = 0; a < e.mean.size(); ++a) {
    z += e.mean[a] * key[a] / std::sqrt(d);
    for (size_t b = 0; b < e.mean.size(); ++b) {
      z += key[a] * e.covariance[a][b] * key[b] / (2 * d);
    }
  }
  return z;
}

}  // namespace

TEST_CASE("query statistics are sums over the queries before rotation, the first four left out") {
  for (const ModelConfig& c : query_shapes()) {
    CAPTURE(c.n_heads);
    CAPTURE(c.head_dim);
    const QueryCase queries(c, 300, 0, 1);
    TestStatistics statistics(c);
    const auto device = make_cpu_device(c, 2);
    queries.add_to(*device, statistics, {1, 2, 5, 293, 300});
    Doubles sum(statistics.sum.size(), 0.0), products(statistics.products.size(), 0.0);
    for (int64_t i = 4; i < 300; ++i) {
      for (int64_t head = 0; head < c.n_heads; ++head) {
        const float* q = &queries.plain[size_t((i * c.n_heads + head) * c.head_dim)];
        for (int64_t a = 0; a < c.head_dim; ++a) {
          sum[size_t(head * c.head_dim + a)] += q[a];
          for (int64_t b = 0; b < c.head_dim; ++b) {
            products[size_t((head * c.head_dim + a) * c.head_dim + b)] += double{q[a]} * q[b];
          }
        }
      }
    }
    CHECK(nmse(statistics.sum, sum) < 1e-12);
    CHECK(nmse(statistics.products, products) < 1e-12);
  }
}

TEST_CASE("queries that count are those from place 4 on") {
  CHECK(QueryStatistics::counted(0, 3) == 0);
  CHECK(QueryStatistics::counted(0, 4) == 0);
  CHECK(QueryStatistics::counted(0, 5) == 1);
  CHECK(QueryStatistics::counted(2, 10) == 8);
  CHECK(QueryStatistics::counted(4, 10) == 10);
  CHECK(QueryStatistics::counted(1000, 7) == 7);
}

TEST_CASE("a mean rotation over one place is the rotation to it") {
  for (const ModelConfig& c : query_shapes()) {
    const RopeFrequencies f = rope_frequencies(c, 778);
    std::vector<float> angles = poisoned(c.head_dim);
    cpu::rope_angles(777, f, c.head_dim, angles.data());
    const MeanRotation mean = mean_rotation(f, c.head_dim, 777, 1);
    for (int64_t i = 0; i < c.head_dim / 2; ++i) {
      CHECK(mean.cosine[i] == doctest::Approx(angles[size_t(i)]).epsilon(1e-5));
      CHECK(mean.sine[i] == doctest::Approx(angles[size_t(c.head_dim / 2 + i)]).epsilon(1e-5));
    }
  }
}

TEST_CASE("expected scores equal the formula") {
  for (const ModelConfig& c : query_shapes()) {
    CAPTURE(c.n_heads);
    CAPTURE(c.head_dim);
    const QueryCase queries(c, 200, 0, 2);
    ExpectedCase some(c, c.n_kv_heads == 1 ? std::vector<int32_t>{700} : std::vector<int32_t>{}, 3);
    const Outlook outlook{.n_queries = 196, .position = 200, .n_tokens = 50, .epsilon = 0.001F};
    const auto device = make_cpu_device(c, 2);
    TestStatistics statistics(c);
    queries.add_to(*device, statistics, {128, 200});
    TestLists logits = some.head_lists(), lists = some.kv_lists();
    device->expected_scores(statistics.view(), outlook, some.rows(), some.zones.view(),
                            logits.view(), lists.view());
    double worst = 0;
    int64_t wrong = 0;
    for (int64_t h = 0; h < c.n_kv_heads; ++h) {
      const int64_t n = some.zones.rows[size_t(h)];
      Doubles mean(size_t(n), 0.0);
      std::vector<bool> seen(size_t(n), false);
      for (int64_t head = h * c.group(); head < (h + 1) * c.group(); ++head) {
        const Expectation e = expectation(c, queries, head, outlook);
        Doubles weight(size_t(n), 0.0);
        double total = 0;
        for (int64_t r = 0; r < n; ++r) {
          if (!some.layer.sees(head, r) || !some.in_window(h, r)) continue;
          const int64_t entry = some.layer.first[size_t(h)] + r;
          weight[size_t(r)] = std::exp(naive_logit(e, &some.layer.k[size_t(entry * c.head_dim)]));
          total += weight[size_t(r)];
          seen[size_t(r)] = true;
        }
        for (int64_t r = 0; r < n && total > 0; ++r) {
          mean[size_t(r)] += weight[size_t(r)] / total / double(c.group());
        }
      }
      for (int64_t r = 0; r < n; ++r) {
        if (!seen[size_t(r)]) {
          wrong += lists.at(h, r) == -INFINITY ? 0 : 1;
          continue;
        }
        const int64_t entry = some.layer.first[size_t(h)] + r;
        double square = 0;
        for (int64_t d = 0; d < c.head_dim; ++d) {
          square += std::pow(double{some.layer.v[size_t(entry * c.head_dim + d)]}, 2);
        }
        const double expected = (mean[size_t(r)] + outlook.epsilon) * std::sqrt(square);
        const double error = std::fabs(lists.at(h, r) - expected) / expected;
        if (!(error <= worst)) worst = error;
      }
      for (int64_t r = n; r < lists.stride; ++r) wrong += std::isnan(lists.at(h, r)) ? 0 : 1;
    }
    CHECK(wrong == 0);
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("without statistics all rows expect the same, and their values decide") {
  const ModelConfig c = attention_shape(2, 1, 8);
  ExpectedCase some(c, {40}, 4);
  std::fill(some.layer.mask.begin(), some.layer.mask.end(), kSeenByAll);
  some.window = 0;
  TestStatistics statistics(c);
  TestLists logits = some.head_lists(), lists = some.kv_lists();
  make_cpu_device(c, 1)->expected_scores(statistics.view(), {.position = 3}, some.rows(),
                                         some.zones.view(), logits.view(), lists.view());
  for (int64_t r = 0; r < 40; ++r) {
    double square = 0;
    for (int64_t d = 0; d < 8; ++d) {
      square += std::pow(double{some.layer.v[size_t((some.layer.first[0] + r) * 8 + d)]}, 2);
    }
    CHECK(lists.at(0, r) == doctest::Approx(std::sqrt(square) / 40).epsilon(1e-5));
  }
}

TEST_CASE("statistics and expected scores are the same to the bit on one thread and on two") {
  const ModelConfig c = attention_shape(4, 2, 64);
  const QueryCase queries(c, 600, 0, 5);
  const auto results = [&](int threads) {
    ExpectedCase some(c, {3000, 1999}, 6);
    const auto device = make_cpu_device(c, threads);
    TestStatistics statistics(c);
    queries.add_to(*device, statistics, {600});
    TestLists logits = some.head_lists(), lists = some.kv_lists();
    device->expected_scores(statistics.view(), {.n_queries = 596, .position = 600}, some.rows(),
                            some.zones.view(), logits.view(), lists.view());
    std::string bits(reinterpret_cast<const char*>(lists.score.data()), lists.score.size() * 4);
    bits.append(reinterpret_cast<const char*>(statistics.products.data()),
                statistics.products.size() * 4);
    return bits;
  };
  CHECK(results(1) == results(2));
}
