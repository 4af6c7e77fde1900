// Scores by keys alone, and scores made alike, on the CPU device: against the formulas in double
// precision, over ragged heads with masks and windows.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "src/cpu/cpu_device.h"
#include "tests/support/kv_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kHidden = -std::numeric_limits<float>::infinity();

/// Rows for every head: spans of 512 crossed, none, one, few; one head gets many.
std::vector<int32_t> ragged(const ModelConfig& c) {
  if (c.n_kv_heads == 1) return {2100};
  std::vector<int32_t> held = {1537, 0, 1, 37};
  held.resize(size_t(c.n_kv_heads), 600);
  return held;
}

int32_t most_of(const std::vector<int32_t>& held) {
  return *std::max_element(held.begin(), held.end());
}

/// Rows by chance, some hidden from their whole group by mask bits that stand for no query head,
/// and places in the text that rise from row to row.
TestLayer layer_of(const ModelConfig& c, const std::vector<int32_t>& held, uint64_t seed) {
  TestLayer layer(c, held, 1, seed);
  TestRandom random(seed + 100);
  for (size_t h = 0; h < held.size(); ++h) {
    for (int64_t r = 0; r < held[h]; ++r) {
      const auto entry = size_t(layer.first[h] + r);
      layer.position[entry] = int32_t(2 * r);
      if (draw(random, 6) == 0) layer.mask[entry] = c.group() == 32 ? 0 : 1U << 31;
    }
  }
  return layer;
}

bool shown(const TestLayer& layer, const TestZones& zones, int64_t window, int64_t h, int64_t r) {
  bool any = false;
  for (int64_t g = 0; g < layer.config.group(); ++g) {
    any = any || layer.sees(h * layer.config.group() + g, r);
  }
  const int64_t last = zones.rows[size_t(h)] - 1;
  return any && (window == 0 || 2 * r > 2 * last - window);
}

const float* key_at(const TestLayer& layer, int64_t h, int64_t r) {
  return &layer.k[size_t((layer.first[size_t(h)] + r) * layer.config.head_dim)];
}

double product(const float* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t d = 0; d < n; ++d) sum += double{a[d]} * b[d];
  return sum;
}

double length(const float* a, int64_t n) {
  const std::vector<double> same(a, a + n);
  return std::sqrt(product(a, same.data(), n));
}

/// The mean of the directions of all keys of a head, seen or not.
std::vector<double> mean_direction(const TestLayer& layer, int64_t h, int64_t rows) {
  const int64_t n = layer.config.head_dim;
  std::vector<double> mean(size_t(n), 0.0);
  for (int64_t r = 0; r < rows; ++r) {
    const float* key = key_at(layer, h, r);
    const double norm = length(key, n);
    for (int64_t d = 0; d < n && norm > 0; ++d) mean[size_t(d)] += key[d] / norm / double(rows);
  }
  return mean;
}

/// Every score against `formula(h, r)`; nothing written behind the rows.
template <class F>
void check_scores(TestLists& lists, const TestLayer& layer, const TestZones& zones, int64_t window,
                  F&& formula) {
  double worst = 0;
  int64_t wrong = 0, n_hidden = 0;
  for (int64_t h = 0; h < layer.config.n_kv_heads; ++h) {
    for (int64_t r = 0; r < lists.stride; ++r) {
      const float score = lists.at(h, r);
      if (r >= zones.rows[size_t(h)]) {
        wrong += std::isnan(score) ? 0 : 1;
      } else if (!shown(layer, zones, window, h, r)) {
        wrong += score == kHidden ? 0 : 1;
        ++n_hidden;
      } else {
        const double error = std::fabs(score - formula(h, r));
        if (!(error <= worst)) worst = error;
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(n_hidden > 0);
  CHECK(worst < 3e-6);
}

}  // namespace

TEST_CASE("key norms equal the formula, -infinity where no query head sees the row") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const int64_t window : {0, 50}) {
      CAPTURE(c.n_heads);
      CAPTURE(window);
      TestLayer layer = layer_of(c, ragged(c), 1);
      const TestZones zones(ragged(c));
      TestLists lists(c.n_kv_heads, most_of(zones.rows));
      KvRows kv = layer.view();
      kv.window = window;
      make_cpu_device(c, 2)->key_norms(kv, zones.view(), lists.view());
      check_scores(lists, layer, zones, window,
                   [&](int64_t h, int64_t r) { return -length(key_at(layer, h, r), c.head_dim); });
    }
  }
}

TEST_CASE("key differences are cosines to the mean direction of all rows, seen or not") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const int64_t window : {0, 50}) {
      CAPTURE(c.n_heads);
      CAPTURE(window);
      TestLayer layer = layer_of(c, ragged(c), 2);
      float* zero = &layer.k[size_t((layer.first[0] + 20) * c.head_dim)];
      std::fill_n(zero, c.head_dim, 0.0F);  // no direction
      const TestZones zones(ragged(c));
      TestLists lists(c.n_kv_heads, most_of(zones.rows));
      KvRows kv = layer.view();
      kv.window = window;
      make_cpu_device(c, 2)->key_differences(kv, zones.view(), lists.view());
      std::vector<std::vector<double>> means;
      for (int64_t h = 0; h < c.n_kv_heads; ++h) {
        means.push_back(mean_direction(layer, h, zones.rows[size_t(h)]));
      }
      check_scores(lists, layer, zones, window, [&](int64_t h, int64_t r) {
        const std::vector<double>& mean = means[size_t(h)];
        double square = 0;
        for (const double x : mean) square += x * x;
        const double norm = length(key_at(layer, h, r), c.head_dim);
        if (norm == 0) return 0.0;
        return -product(key_at(layer, h, r), mean.data(), c.head_dim) / norm / std::sqrt(square);
      });
    }
  }
}

TEST_CASE("a NaN in a key shows in the key's score, and in all cosines") {
  const ModelConfig c = attention_shape(2, 1, 8);
  TestLayer layer(c, {30}, 1, 3);
  std::fill(layer.mask.begin(), layer.mask.end(), kSeenByAll);
  layer.k[size_t(layer.first[0] * c.head_dim + 5)] = NAN;
  const TestZones zones({30});
  TestLists norms(1, 30), cosines(1, 30);
  const auto device = make_cpu_device(c, 1);
  device->key_norms(layer.view(), zones.view(), norms.view());
  device->key_differences(layer.view(), zones.view(), cosines.view());
  CHECK(std::isnan(norms.at(0, 0)));
  CHECK(std::isfinite(norms.at(0, 1)));
  CHECK(std::isnan(cosines.at(0, 0)));
  CHECK(std::isnan(cosines.at(0, 29)));
}

TEST_CASE("shared scores are means over the KV heads that hold the row") {
  const ModelConfig c = attention_shape(6, 3, 4);
  const TestZones zones({3, 2, 4});
  TestLists lists(3, 4);
  const float scores[3][4] = {{1, 2, kHidden, 9}, {4, 5, 9, 9}, {-2, 8, 6, 7}};
  for (int64_t h = 0; h < 3; ++h) std::copy_n(scores[h], zones.rows[size_t(h)], lists.list(h));
  make_cpu_device(c, 2)->share_scores(zones.view(), lists.view());
  for (int64_t h = 0; h < 3; ++h) {
    CHECK(lists.at(h, 0) == 1);
    CHECK(lists.at(h, 1) == 5);
    if (h != 1) CHECK(lists.at(h, 2) == kHidden);
  }
  CHECK(lists.at(2, 3) == 7);
  CHECK(std::isnan(lists.at(0, 3)));
  CHECK(std::isnan(lists.at(1, 2)));
}

TEST_CASE("scores of a chunk are the mean of its rows, counted from where the zone begins") {
  const ModelConfig c = attention_shape(4, 2, 4);
  TestZones zones({9, 5});
  zones.begin = {2, 0};
  zones.end = {9, 4};
  const float scores[2][9] = {{100, 100, 1, 2, 6, kHidden, 3, 5, 10}, {2, kHidden, kHidden, 8, 50}};
  for (const int64_t n_lists : {2, 4}) {
    TestLists lists(n_lists, 9);
    for (int64_t i = 0; i < n_lists; ++i) {
      const int64_t h = i / (n_lists / 2);
      std::copy_n(scores[h], zones.rows[size_t(h)], lists.list(i));
    }
    make_cpu_device(c, 2)->chunk_scores(zones.view(), 3, lists.view());
    const float expected[2][9] = {{100, 100, 3, 3, 3, kHidden, 4, 4, 10},
                                  {2, kHidden, kHidden, 8, 50}};
    for (int64_t i = 0; i < n_lists; ++i) {
      const int64_t h = i / (n_lists / 2);
      for (int64_t r = 0; r < zones.rows[size_t(h)]; ++r) {
        CAPTURE(i);
        CAPTURE(r);
        CHECK(lists.at(i, r) == expected[h][r]);
      }
      CHECK(std::isnan(lists.at(i, zones.rows[size_t(h)])));
    }
  }
}

TEST_CASE("chunks of one row leave scores as they are, chunks of all rows make them one") {
  const ModelConfig c = attention_shape(1, 1, 4);
  const TestZones zones({700});
  TestLists lists(1, 700);
  const std::vector<float> scores = random_floats(700, 4);
  std::copy(scores.begin(), scores.end(), lists.list(0));
  const auto device = make_cpu_device(c, 2);
  device->chunk_scores(zones.view(), 1, lists.view());
  CHECK(std::equal(scores.begin(), scores.end(), lists.list(0)));
  device->chunk_scores(zones.view(), 1000, lists.view());
  double sum = 0;
  for (const float score : scores) sum += score;
  CHECK(lists.at(0, 0) == doctest::Approx(sum / 700).epsilon(1e-5));
  CHECK(lists.at(0, 699) == lists.at(0, 0));
}

TEST_CASE("scores by keys are the same to the bit on one thread and on two") {
  const ModelConfig c = attention_shape(4, 2, 128);
  TestLayer layer(c, {9000, 7001}, 1, 5);
  const TestZones zones({9000, 7001});
  const auto results = [&](int threads) {
    const auto device = make_cpu_device(c, threads);
    TestLists norms(2, 9000), cosines(2, 9000);
    device->key_norms(layer.view(), zones.view(), norms.view());
    device->key_differences(layer.view(), zones.view(), cosines.view());
    std::string bits(reinterpret_cast<const char*>(norms.score.data()), norms.score.size() * 4);
    bits.append(reinterpret_cast<const char*>(cosines.score.data()), cosines.score.size() * 4);
    return bits;
  };
  CHECK(results(1) == results(2));
}
