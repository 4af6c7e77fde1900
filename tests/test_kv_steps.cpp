// Scores of K/V rows on the CPU device: against the formulas in double precision, over ragged heads
// with masks.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "src/cpu/cpu_device.h"
#include "src/kv/random_score.h"
#include "tests/support/kv_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Rows for every head: none, one, few, spans of 512 crossed, and enough for two threads.
std::vector<int32_t> ragged(const ModelConfig& c) {
  if (c.n_kv_heads == 1) return {4500};
  const int32_t rows[] = {1537, 0, 1, 37};
  std::vector<int32_t> held(rows, rows + std::min<int64_t>(c.n_kv_heads, 4));
  held.resize(size_t(c.n_kv_heads), 5);
  return held;
}

int32_t most_of(const std::vector<int32_t>& held) {
  return *std::max_element(held.begin(), held.end());
}

/// Whether nothing was written behind the rows of any list.
bool ends_are_poisoned(TestLists& lists, const std::vector<int32_t>& held) {
  const int64_t per_head = lists.n / static_cast<int64_t>(held.size());
  for (int64_t i = 0; i < lists.n; ++i) {
    for (int64_t r = held[size_t(i / per_head)]; r < lists.stride; ++r) {
      if (!std::isnan(lists.at(i, r))) return false;
    }
  }
  return true;
}

/// The group's softmaxes made one, as it is written; NaN stands for -infinity.
std::vector<double> naive_combined(const ModelConfig& c, const TestLists& from, GroupScore how,
                                   int64_t h, int64_t rows) {
  std::vector<double> out(size_t(rows), how == GroupScore::kMax ? -1.0 : 0.0);
  std::vector<bool> seen(size_t(rows), false);
  for (int64_t head = h * c.group(); head < (h + 1) * c.group(); ++head) {
    double max = -INFINITY;
    for (int64_t r = 0; r < rows; ++r) max = std::max(max, double{from.at(head, r)});
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      if (from.at(head, r) != -kInfinity) sum += std::exp(from.at(head, r) - max);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const bool sees = from.at(head, r) != -kInfinity;
      const double weight = sees ? std::exp(from.at(head, r) - max) / sum : 0.0;
      double& score = out[size_t(r)];
      score = how == GroupScore::kMax ? std::max(score, weight) : score + weight;
      if (sees) seen[size_t(r)] = true;
    }
  }
  for (size_t r = 0; r < out.size(); ++r) {
    if (how == GroupScore::kMean) out[r] /= static_cast<double>(c.group());
    if (!seen[r]) out[r] = NAN;
  }
  return out;
}

/// Combined scores of one KV head against the formula: -infinity exactly where none sees the row.
void check_combined(const ModelConfig& c, const TestLists& from, const TestLists& to,
                    GroupScore how, int64_t h, int64_t rows) {
  const std::vector<double> expected = naive_combined(c, from, how, h, rows);
  double worst = 0;
  bool hidden_right = true;
  for (int64_t r = 0; r < rows; ++r) {
    const double e = expected[size_t(r)];
    if (std::isnan(e)) {
      hidden_right = hidden_right && to.at(h, r) == -kInfinity;
    } else {
      const double error = std::fabs(double{to.at(h, r)} - e) / (e + 1e-30);
      if (!(error <= worst)) worst = error;
    }
  }
  CHECK(hidden_right);
  CHECK(worst < 2e-6);
}

}  // namespace

TEST_CASE("attention scores equal the formula, -infinity where the mask hides the row") {
  for (const ModelConfig& c : attention_shapes()) {
    CAPTURE(c.n_heads);
    CAPTURE(c.n_kv_heads);
    const auto device = make_cpu_device(c, 2);
    TestLayer layer(c, ragged(c), 1, 1);
    const TestZones zones(ragged(c));
    TestLists lists(c.n_heads, most_of(zones.rows));
    const std::vector<float> q = random_floats(c.q_size(), 2, 2);
    device->attention_scores(q.data(), layer.view(), zones.view(), lists.view());
    double difference = 0, square = 0;
    bool hidden_right = true;
    for (int64_t head = 0; head < c.n_heads; ++head) {
      const size_t h = size_t(head / c.group());
      for (int64_t r = 0; r < zones.rows[h]; ++r) {
        double dot = 0;
        for (int64_t d = 0; d < c.head_dim; ++d) {
          dot += double{q[size_t(head * c.head_dim + d)]} *
                 layer.k[size_t((layer.first[h] + r) * c.head_dim + d)];
        }
        const double expected = dot / std::sqrt(double(c.head_dim));
        const double actual = lists.at(head, r);
        hidden_right = hidden_right && (actual == -INFINITY) == !layer.sees(head, r);
        if (!layer.sees(head, r)) continue;
        difference += (actual - expected) * (actual - expected);
        square += expected * expected;
      }
    }
    CHECK(hidden_right);
    CHECK(difference < 1e-12 * square);
    CHECK(ends_are_poisoned(lists, zones.rows));
  }
}

TEST_CASE("a random score depends on seed, list and position alone, and is uniform") {
  // Computed once with whole numbers in Python.
  CHECK(random_score(0, 0, 0) == 0xa706ddp-24F);
  CHECK(random_score(1, 2, 3) == 0xee3bbp-24F);
  CHECK(random_score(0xffffffffffffffffU, 1000, 2'147'483'647) == 0x56e03cp-24F);
  constexpr int kN = 100'000;
  for (int64_t list = 0; list < 3; ++list) {
    double sum = 0, square = 0, product = 0;
    float least = 1, most = 0;
    for (int32_t p = 0; p < kN; ++p) {
      const float u = random_score(7, list, p);
      sum += u;
      square += double{u} * u;
      product += double{u} * random_score(7, list + 1, p);
      least = std::min(least, u);
      most = std::max(most, u);
    }
    CHECK(least >= 0);
    CHECK(most < 1);
    CHECK(sum / kN == doctest::Approx(0.5).epsilon(0.01));
    CHECK(square / kN == doctest::Approx(1.0 / 3).epsilon(0.01));
    CHECK(product / kN == doctest::Approx(0.25).epsilon(0.02));  // lists know nothing of another
  }
}

TEST_CASE("random scores are those of the rows' positions, -infinity where the mask hides one") {
  for (const ModelConfig& c : attention_shapes()) {
    const auto device = make_cpu_device(c, 2);
    TestLayer layer(c, ragged(c), 1, 3);
    const TestZones zones(ragged(c));
    TestLists lists(c.n_heads, most_of(zones.rows));
    device->random_scores(99, layer.view(), zones.view(), lists.view());
    int64_t wrong = 0;
    for (int64_t head = 0; head < c.n_heads; ++head) {
      const size_t h = size_t(head / c.group());
      for (int64_t r = 0; r < zones.rows[h]; ++r) {
        const int32_t position = layer.position[size_t(layer.first[h] + r)];
        const float expected = layer.sees(head, r) ? random_score(99, head, position) : -kInfinity;
        if (lists.at(head, r) != expected) ++wrong;
      }
    }
    CHECK(wrong == 0);
    CHECK(ends_are_poisoned(lists, zones.rows));
  }
}

TEST_CASE("scores of a group combined equal mean, max and sum of softmaxes") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const GroupScore how : {GroupScore::kMean, GroupScore::kMax, GroupScore::kSum}) {
      CAPTURE(c.n_heads);
      CAPTURE(static_cast<int>(how));
      const auto device = make_cpu_device(c, 2);
      const TestZones zones(ragged(c));
      TestLists from(c.n_heads, most_of(zones.rows));
      TestLists to(c.n_kv_heads, most_of(zones.rows));
      TestRandom random(4);
      for (int64_t head = 0; head < c.n_heads; ++head) {
        for (int64_t r = 0; r < zones.rows[size_t(head / c.group())]; ++r) {
          const bool hidden = draw(random, 3) == 0 || r == 3;  // row 3 is seen by none
          from.list(head)[r] = hidden ? -kInfinity : 4 * random.next() + 1000;
        }
      }
      device->combine_scores(from.view(), how, zones.view(), to.view());
      for (int64_t h = 0; h < c.n_kv_heads; ++h) {
        check_combined(c, from, to, how, h, zones.rows[size_t(h)]);
      }
      CHECK(ends_are_poisoned(to, zones.rows));
    }
  }
}

TEST_CASE("a query head that sees no row adds nothing to its group's scores") {
  const ModelConfig c = attention_shape(4, 2, 2);
  const auto device = make_cpu_device(c, 2);
  const TestZones zones({3, 2});
  TestLists from(4, 3), to(2, 3);
  const float scores[4][3] = {{0, 0, -kInfinity},
                              {-kInfinity, -kInfinity, -kInfinity},
                              {-kInfinity, -kInfinity, 0},
                              {-kInfinity, -kInfinity, 0}};
  for (int64_t head = 0; head < 4; ++head) {
    std::copy_n(scores[head], zones.rows[size_t(head / 2)], from.list(head));
  }
  device->combine_scores(from.view(), GroupScore::kMean, zones.view(), to.view());
  CHECK(to.at(0, 0) == 0.25F);
  CHECK(to.at(0, 1) == 0.25F);
  CHECK(to.at(0, 2) == -kInfinity);
  CHECK(to.at(1, 0) == -kInfinity);
  CHECK(to.at(1, 1) == -kInfinity);
}

TEST_CASE("a NaN or +infinity in one query head's scores shows in the combined ones") {
  const ModelConfig c = attention_shape(3, 1, 2);
  const auto device = make_cpu_device(c, 2);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    for (const GroupScore how : {GroupScore::kMean, GroupScore::kMax, GroupScore::kSum}) {
      for (int64_t head = 0; head < 3; ++head) {
        const TestZones zones({700});
        TestLists from(3, 700), to(1, 700);
        for (int64_t i = 0; i < 3; ++i) {
          for (int64_t r = 0; r < 700; ++r) from.list(i)[r] = 0.01F * static_cast<float>(r + i);
          from.list(i)[5] = -kInfinity;
        }
        from.list(head)[613] = bad;
        device->combine_scores(from.view(), how, zones.view(), to.view());
        int64_t n_nan = 0;
        for (int64_t r = 0; r < 700; ++r) n_nan += std::isnan(to.at(0, r)) ? 1 : 0;
        CHECK(n_nan == 699);
        CHECK(to.at(0, 5) == -kInfinity);
      }
    }
  }
}

TEST_CASE("scores and cuts are the same to the bit on one thread and on two") {
  const ModelConfig c = attention_shape(8, 2, 64);
  TestLayer layer(c, {9000, 7001}, 1, 5);
  TestZones zones({9000, 7001});
  zones.k = {100, 50};
  const std::vector<float> q = random_floats(c.q_size(), 6, 2);
  const auto results = [&](int threads) {
    const auto device = make_cpu_device(c, threads);
    TestLists lists(8, 9000), combined(2, 9000);
    device->attention_scores(q.data(), layer.view(), zones.view(), lists.view());
    device->combine_scores(lists.view(), GroupScore::kMean, zones.view(), combined.view());
    device->top_k(zones.view(), combined.view());
    std::string bits(reinterpret_cast<const char*>(lists.score.data()), lists.score.size() * 4);
    bits.append(reinterpret_cast<const char*>(combined.score.data()), combined.score.size() * 4);
    for (const Cut& cut : combined.cut) bits += std::to_string(cut.last_tie) + ",";
    return bits;
  };
  CHECK(results(1) == results(2));
}
