// Norms of values on the CPU device, and the factors by which the output matrix enters them:
// against the formulas in double precision.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "src/cpu/cpu_device.h"
#include "src/output_factor.h"
#include "tests/support/loaded_model.h"
#include "tests/support/score_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr ValueNorm kNorms[] = {ValueNorm::kValue, ValueNorm::kOutput, ValueNorm::kOutputL1};

std::vector<int32_t> held_rows(const ModelConfig& c) {
  const int32_t rows[] = {300, 0, 1, 37};
  std::vector<int32_t> held(rows, rows + std::min<int64_t>(c.n_kv_heads, 4));
  held.resize(size_t(c.n_kv_heads), 5);
  return held;
}

/// grams [n_heads, head_dim, head_dim] of a random W_O of `rank` independent outputs.
std::vector<double> naive_grams(const ModelConfig& c, const TestOutput& output) {
  const int64_t d = c.head_dim;
  std::vector<double> grams(size_t(c.q_size() * d));
  for (int64_t row = 0; row < c.q_size(); ++row) {
    for (int64_t j = 0; j < d; ++j) {
      for (int64_t n = 0; n < output.n_hidden; ++n) {
        const float* w = &output.o[size_t(n * output.columns)];
        grams[size_t(row * d + j)] += double{w[row]} * double{w[row / d * d + j]};
      }
    }
  }
  return grams;
}

/// The norm of v R.  v [n]; r [n, n]
double factored_norm(const std::vector<float>& v, const std::vector<float>& r) {
  const size_t n = v.size();
  double sum = 0;
  for (size_t j = 0; j < n; ++j) {
    double out = 0;
    for (size_t i = 0; i < n; ++i) out += double{v[i]} * double{r[i * n + j]};
    sum += out * out;
  }
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("value norms equal the formulas, -infinity where the mask hides the row") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const ValueNorm how : kNorms) {
      CAPTURE(c.n_heads);
      CAPTURE(c.head_dim);
      CAPTURE(static_cast<int>(how));
      TestLayer layer(c, held_rows(c), 1, 1);
      const TestOutput output(c, 3 * c.head_dim + 1, 2);
      const TestZones zones(held_rows(c));
      TestLists lists(c.n_heads, zones.view().max_rows);
      make_cpu_device(c, 2)->value_norms(output.view(), layer.view(), zones.view(), how,
                                         lists.view());
      double worst = 0;
      bool ends_poisoned = true;
      for (int64_t head = 0; head < c.n_heads; ++head) {
        const size_t h = size_t(head / c.group());
        std::vector<double> expected;
        for (int64_t r = 0; r < zones.rows[h]; ++r) {
          const float* v = &layer.v[size_t((layer.first[h] + r) * c.head_dim)];
          expected.push_back(layer.sees(head, r) ? output.norm(c, v, head, how) : -INFINITY);
        }
        worst = std::max(worst, worst_score(lists.list(head), expected));
        for (int64_t r = zones.rows[h]; r < lists.stride; ++r) {
          ends_poisoned = ends_poisoned && std::isnan(lists.at(head, r));
        }
      }
      CHECK(worst < 1e-5);
      CHECK(ends_poisoned);
    }
  }
}

TEST_CASE("Gram matrices of the output matrix equal the sums, whatever type it has") {
  for (const ModelConfig& c :
       {attention_shape(3, 3, 6), attention_shape(4, 2, 64), attention_shape(1, 1, 250)}) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      TestOutput output(c, 515, 3);
      const std::string stored = encode(type, output.o);
      output.o = decode({"", type, {output.o.size()}, stored});
      LayerWeights w;
      w.o = {.data = stored.data(), .type = type, .rows = 515, .cols = c.q_size()};
      std::vector<float> grams = poisoned(c.q_size() * c.head_dim);
      make_cpu_device(c, 2)->output_grams(w, grams.data());
      CHECK(nmse(grams, naive_grams(c, output)) < 1e-12);
    }
  }
}

TEST_CASE("a factor gives the norm of the full product, also where W_O has not full rank") {
  constexpr int64_t kN = 24;
  for (const int64_t rank : {0, 1, 7, 23, 24, 100}) {
    CAPTURE(rank);
    const ModelConfig c = attention_shape(1, 1, kN);
    const TestOutput output(c, rank, 4);
    const std::vector<double> gram = naive_grams(c, output);
    std::vector<float> r(gram.begin(), gram.end());
    factor_gram(r, kN);
    for (int64_t i = 0; i < kN; ++i) {
      for (int64_t j = i + 1; j < kN; ++j) CHECK(r[size_t(i * kN + j)] == 0);
    }
    for (uint64_t seed = 0; seed < 5; ++seed) {
      const std::vector<float> v = random_floats(kN, 5 + seed);
      double square = 0;
      for (int64_t j = 0; j < rank; ++j) {
        double out = 0;
        for (int64_t i = 0; i < kN; ++i) {
          out += double{v[size_t(i)]} * double{output.o[size_t(j * kN + i)]};
        }
        square += out * out;
      }
      CHECK(factored_norm(v, r) == doctest::Approx(std::sqrt(square)).epsilon(3e-3));
    }
  }
}

TEST_CASE("a column of W_O that is zero, or twice another, leaves a zero column and no NaN") {
  std::vector<float> gram = {4, 0, 8, 2, 0, 0, 0, 0, 8, 0, 16, 4, 2, 0, 4, 10};
  factor_gram(gram, 4);
  CHECK(gram == std::vector<float>{2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 3});
}

TEST_CASE("every layer of a model gets factors that give the norms of its values") {
  TinyModel tiny;
  const TempDir dir;
  write_tiny_model(dir.path(), tiny);
  ModelFiles files = open_network(dir.path());
  files.plan.bytes += output_factor_bytes(files.config);
  const ModelConfig& c = files.config;
  Model model = load_model(files, make_cpu_device(c, 2), roomy_shape(16), {});
  make_output_factors(c, *model.device, model.weights);
  REQUIRE(std::ssize(model.weights.layers) == c.n_layers);
  for (const LayerWeights& w : model.weights.layers) {
    REQUIRE(w.o_factor != nullptr);
    for (int64_t head = 0; head < c.n_heads; ++head) {
      const std::vector<float> v = random_floats(c.head_dim, 6 + uint64_t(head));
      const float* r = w.o_factor + head * c.head_dim * c.head_dim;
      double square = 0;
      for (int64_t j = 0; j < c.hidden_size; ++j) {
        double out = 0;
        for (int64_t i = 0; i < c.head_dim; ++i) {
          const int64_t at = j * w.o.cols + head * c.head_dim + i;
          out += double{v[size_t(i)]} * with_dtype(w.o.type, [&]<class T>(const T*) {
                   return double{to_float(static_cast<const T*>(w.o.data)[at])};
                 });
        }
        square += out * out;
      }
      const std::vector<float> factor(r, r + c.head_dim * c.head_dim);
      CHECK(factored_norm(v, factor) == doctest::Approx(std::sqrt(square)).epsilon(1e-3));
    }
  }
}

TEST_CASE("value norms are the same to the bit on one thread and on two") {
  const ModelConfig c = attention_shape(8, 2, 64);
  TestLayer layer(c, {1500, 1001}, 1, 8);
  const TestOutput output(c, 100, 9);
  const TestZones zones({1500, 1001});
  for (const ValueNorm how : kNorms) {
    TestLists one(8, 1500), two(8, 1500);
    make_cpu_device(c, 1)->value_norms(output.view(), layer.view(), zones.view(), how, one.view());
    make_cpu_device(c, 2)->value_norms(output.view(), layer.view(), zones.view(), how, two.view());
    CHECK(std::memcmp(one.score.data(), two.score.data(), one.score.size() * 4) == 0);
  }
}
