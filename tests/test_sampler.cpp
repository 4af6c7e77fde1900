// The sampler against a naive implementation of the same filters, golden values for what must be
// the same on every platform, and the distribution of many draws.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/sampler.h"
#include "tests/support/shown.h"

using namespace winnow;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The message of the internal error that `body` must throw.
template <class Body>
std::string internal_error(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kInternal);
    return error.what();
  }
  return "";
}

std::vector<float> random_logits(size_t n, uint32_t seed, bool heavy_ties) {
  std::mt19937 random(seed);
  std::vector<float> logits(n);
  for (float& logit : logits) {
    const auto steps = static_cast<float>(random() % (heavy_ties ? 7 : 100000));
    logit = heavy_ties ? steps - 3 : steps / 10000 - 5;
    if (random() % 10 == 0) logit = -kInf;
    if (random() % 10 == 0) logit = random() % 2 == 0 ? 0.0F : -0.0F;
  }
  logits[n / 2] = 4.0F;  // something is not masked
  return logits;
}

/// The filters as their definitions read, on all ids, with the C library's exp.
std::map<int32_t, double> naive_candidates(const std::vector<float>& logits,
                                           const SamplerOptions& options) {
  std::vector<std::pair<double, int32_t>> order;  // (-logit, id)
  for (size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] > -kInf) order.emplace_back(0.0 - double{logits[id]}, static_cast<int32_t>(id));
  }
  std::sort(order.begin(), order.end());
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < order.size()) {
    order.resize(static_cast<size_t>(options.top_k));
  }
  const auto softmax = [&] {
    double total = 0;
    std::vector<double> p;
    for (const auto& [minus, id] : order) p.push_back(std::exp(-minus / options.temperature));
    for (const double x : p) total += x;
    for (double& x : p) x /= total;
    return p;
  };
  std::vector<double> p = softmax();
  double before = 0;
  size_t n = 0;
  for (; n < p.size(); ++n) {
    if (n > 0 && options.top_p < 1 && before >= options.top_p) break;
    before += p[n];
  }
  order.resize(n);
  p = softmax();
  n = 0;
  while (n < p.size() && p[n] >= double{options.min_p} * p[0] * (1 - 1e-12)) ++n;
  order.resize(n);
  p = softmax();
  std::map<int32_t, double> result;
  for (size_t i = 0; i < order.size(); ++i) result[order[i].second] = p[i];
  return result;
}

/// A value that a chi-square variable of `degrees` exceeds once in a million (Wilson, Hilferty).
double chi_square_limit(double degrees) {
  const double z = 4.753;
  const double spread = 2 / (9 * degrees);
  return degrees * std::pow(1 - spread + z * std::sqrt(spread), 3);
}

SamplerOptions with_temperature(float temperature) {
  SamplerOptions options;
  options.temperature = temperature;
  return options;
}

}  // namespace

TEST_CASE("sampler: uniform gives the golden values of every platform") {
  CHECK(uniform(0, 0) == 0x1.2086089bfcf34p-2);
  CHECK(uniform(0, 1) == 0x1.4e0dba5e9a32fp-1);
  CHECK(uniform(1, 0) == 0x1.b9c847f90581ap-1);
  CHECK(uniform(42, 7) == 0x1.90147a81a0f5cp-3);
  CHECK(uniform(42, uint64_t{1} << 40) == 0x1.2af52a76dc0bfp-1);
  CHECK(uniform(UINT64_MAX, UINT64_MAX) == 0x1.6ff0d52b2dbfcp-3);
}

TEST_CASE("sampler: uniform is uniform over steps and over seeds") {
  for (const bool over_steps : {true, false}) {
    constexpr int kDraws = 100000;
    constexpr int kBins = 100;
    std::vector<int> bins(kBins);
    double products = 0;  // of neighbours: their mean is 1/4 where they are independent
    for (uint64_t i = 0; i < kDraws; ++i) {
      const double x = over_steps ? uniform(3, i) : uniform(i, 3);
      REQUIRE(x >= 0);
      REQUIRE(x < 1);
      ++bins[static_cast<size_t>(x * kBins)];
      products += x * (over_steps ? uniform(3, i + 1) : uniform(i + 1, 3));
    }
    double chi_square = 0;
    const double expected = double{kDraws} / kBins;
    for (const int count : bins) chi_square += (count - expected) * (count - expected) / expected;
    CHECK(chi_square < chi_square_limit(kBins - 1));
    CHECK(products / kDraws == doctest::Approx(0.25).epsilon(0.01));
  }
}

TEST_CASE("sampler: exp_portable is exact to 1e-15 and the same to the bit everywhere") {
  double worst = 0;
  for (double x = -708; x <= 709; x += 0.0137) {
    worst = std::max(worst, std::abs(exp_portable(x) / std::exp(x) - 1));
  }
  CHECK(worst < 1e-15);
  CHECK(exp_portable(0) == 1);
  CHECK(exp_portable(-709) == 0);
  CHECK(exp_portable(-std::numeric_limits<double>::infinity()) == 0);
  CHECK(exp_portable(710) == std::numeric_limits<double>::infinity());

  CHECK(exp_portable(-1) == 0x1.78b56362cef38p-2);
  CHECK(exp_portable(-100.125) == 0x1.76d8e5c4fcb71p-145);
  uint64_t hash = 0;  // changes where one result changes: a fused multiply-add, for example
  for (int i = 0; i < 10000; ++i) {
    hash = hash * 31 + std::bit_cast<uint64_t>(exp_portable(-i / 16.0 / 3.0));
  }
  CHECK(hash == 0xdba845c0be825625U);
}

TEST_CASE("sampler: argmax takes the lowest id of equal logits") {
  CHECK(argmax(std::vector<float>{1, 3, 3, 2, 3}) == 1);
  CHECK(argmax(std::vector<float>{-0.0F, 0.0F}) == 0);
  CHECK(argmax(std::vector<float>{0.0F, -0.0F}) == 0);
  CHECK(argmax(std::vector<float>{-kInf, -5, -kInf}) == 1);
  CHECK(argmax(std::vector<float>{7}) == 0);
}

TEST_CASE("sampler: logits that are not finite are an internal error that says where") {
  const auto message = [](std::vector<float> logits) {
    const std::string text = internal_error([&] { argmax(logits); });
    for (const float temperature : {0.0F, 1.0F}) {
      std::vector<float> copy = logits;
      const SamplerOptions options = with_temperature(temperature);
      CHECK(internal_error([&] { sample(copy, options, {}, 0); }) == text);
    }
    if (!logits.empty()) CHECK(internal_error([&] { top_logprobs(logits, 0, 1); }) == text);
    return text;
  };
  CHECK(message({1, 2, kNan, 9}) == "logits are not finite (NaN at id 2)");
  CHECK(message({kNan}) == "logits are not finite (NaN at id 0)");
  CHECK(message({1, kInf, 2}) == "logits are not finite (infinity at id 1)");
  CHECK(message({-kInf, -kInf}) == "logits are not finite (all 2 are -infinity)");
  CHECK(message({}) == "logits are not finite (all 0 are -infinity)");
}

TEST_CASE("sampler: temperature 0 is greedy, whatever the filters") {
  std::vector<float> logits = {0, 5, 5, 1};
  SamplerOptions options;
  options.top_k = 3;
  options.top_p = 0.5F;
  options.min_p = 0.1F;
  for (uint64_t step = 0; step < 100; ++step) CHECK(sample(logits, options, {}, step) == 1);
}

TEST_CASE("sampler: candidates agree with a naive implementation") {
  std::mt19937 random(5);
  const auto pick = [&](std::vector<float> list) { return list[random() % list.size()]; };
  for (uint32_t round = 0; round < 2000; ++round) {
    const size_t vocab = 1 + random() % 200;
    const auto logits = random_logits(vocab, round, round % 2 == 0);
    SamplerOptions options = with_temperature(pick({0.1F, 0.7F, 1, 1.3F, 10}));
    options.top_k = static_cast<int32_t>(pick({0, 0, 1, 2, 10, 199, 5000}));
    options.top_p = pick({1, 1, 0, 1e-9F, 0.301F, 0.903F, 0.9999F});
    options.min_p = pick({0, 0, 0.0501F, 0.301F, 1});
    CAPTURE(round);

    const auto expected = naive_candidates(logits, options);
    const auto list = candidates(logits, options);
    REQUIRE(list.size() == expected.size());
    double total = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      REQUIRE(expected.count(list[i].id) == 1);
      REQUIRE(list[i].probability == doctest::Approx(expected.at(list[i].id)).epsilon(1e-12));
      total += list[i].probability;
      if (i == 0) continue;
      const float left = logits[static_cast<size_t>(list[i - 1].id)];
      const float right = logits[static_cast<size_t>(list[i].id)];
      REQUIRE((left > right || (left == right && list[i - 1].id < list[i].id)));
    }
    REQUIRE(total == doctest::Approx(1).epsilon(1e-12));
  }
}

TEST_CASE("sampler: the ends of each filter") {
  const std::vector<float> logits = {1, 4, 2, 4, -kInf, 3};
  const auto ids = [&](int32_t k, float top_p, float min_p) {
    SamplerOptions options = with_temperature(1);
    options.top_k = k;
    options.top_p = top_p;
    options.min_p = min_p;
    std::vector<int32_t> result;
    for (const Candidate& candidate : candidates(logits, options)) result.push_back(candidate.id);
    return result;
  };
  using Ids = std::vector<int32_t>;
  CHECK(ids(0, 1, 0) == Ids{1, 3, 5, 2, 0});  // all but the masked one
  CHECK(ids(100, 1, 0) == Ids{1, 3, 5, 2, 0});
  CHECK(ids(std::numeric_limits<int32_t>::max(), 1, 0) == Ids{1, 3, 5, 2, 0});
  CHECK(ids(1, 1, 0) == Ids{1});  // the lower id of a tie
  CHECK(ids(2, 1, 0) == Ids{1, 3});
  CHECK(ids(0, 0, 0) == Ids{1});
  CHECK(ids(0, 1e-30F, 0) == Ids{1});
  CHECK(ids(2, 0.5F, 0) == Ids{1});  // half of the two that are left, exactly
  CHECK(ids(0, 1, 1) == Ids{1, 3});  // everything as probable as the first
}

TEST_CASE("sampler: extreme logits and temperatures stay finite") {
  const float most = std::numeric_limits<float>::max();
  for (const float temperature : {1e-45F, 1e-6F, 1.0F, most}) {
    for (const auto& logits :
         {std::vector<float>{most, -most, 0}, std::vector<float>{-most, -most, -kInf}}) {
      double total = 0;
      for (const Candidate& c : candidates(logits, with_temperature(temperature))) {
        CHECK(c.probability > 0);
        total += c.probability;
      }
      CHECK(total == doctest::Approx(1));
    }
  }
}

TEST_CASE("sampler: draws follow the probabilities of the candidates") {
  const auto logits = random_logits(60, 77, true);
  std::vector<SamplerOptions> cases(6, with_temperature(1));
  cases[1].temperature = 2.5F;
  cases[2].top_k = 9;
  cases[3].top_p = 0.7F;
  cases[4].min_p = 0.04F;
  cases[5] = {1.5F, 40, 0.95F, 0.01F, 1, 0};
  for (size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    SamplerOptions options = cases[i];
    options.seed = 1234 + i;
    constexpr int kDraws = 100000;
    std::map<int32_t, int> counts;
    const auto expected = naive_candidates(logits, options);
    std::vector<float> copy = logits;
    for (uint64_t step = 0; step < kDraws; ++step) ++counts[sample(copy, options, {}, step)];
    for (const auto& [id, count] : counts) REQUIRE(expected.count(id) == 1);

    double chi_square = 0;
    double degrees = -1;
    double rare = 0;  // ids expected less than five times are one bin
    double rare_count = 0;
    for (const auto& [id, p] : expected) {
      const double mean = p * kDraws;
      if (mean < 5) {
        rare += mean;
        rare_count += counts[id];
        continue;
      }
      chi_square += (counts[id] - mean) * (counts[id] - mean) / mean;
      degrees += 1;
    }
    if (rare > 0) {
      chi_square += (rare_count - rare) * (rare_count - rare) / rare;
      degrees += 1;
    }
    REQUIRE(degrees > 0);
    CHECK(chi_square < chi_square_limit(degrees));
  }
}

TEST_CASE("sampler: a step's draw depends on the seed and the step alone") {
  auto logits = random_logits(500, 3, false);
  const auto draw = [&](uint64_t seed, uint64_t step) {
    SamplerOptions options = with_temperature(1);
    options.seed = seed;
    return sample(logits, options, {}, step);
  };
  std::vector<int32_t> forwards;
  std::vector<int32_t> backwards(50);
  std::vector<int32_t> other_seed;
  for (uint64_t step = 0; step < 50; ++step) forwards.push_back(draw(9, step));
  for (uint64_t step = 50; step-- > 0;) backwards[step] = draw(9, step);
  for (uint64_t step = 0; step < 50; ++step) other_seed.push_back(draw(10, step));
  CHECK(forwards == backwards);
  CHECK(forwards != other_seed);
}

TEST_CASE("sampler: draws give the golden ids of every platform") {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 1000) / 128;
  SamplerOptions options{0.9F, 0, 0.98F, 0.001F, 1, 20240607};
  std::vector<int32_t> ids;
  for (uint64_t step = 0; step < 8; ++step) ids.push_back(sample(logits, options, {}, step));
  CHECK(ids == std::vector<int32_t>{139, 127, 421, 989, 593, 509, 38, 248});
}

TEST_CASE("sampler: the repeat penalty lowers seen logits of either sign") {
  std::vector<float> logits = {2, -2, 0, 3, -kInf, -1};
  apply_repeat_penalty(logits, std::vector<uint8_t>{1, 1, 1, 0, 1, 0}, 2);
  CHECK(logits == std::vector<float>{1, -4, 0, 3, -kInf, -1});
  CHECK(!internal_error([&] { apply_repeat_penalty(logits, std::vector<uint8_t>{1}, 2); }).empty());

  SamplerOptions options;
  options.repeat_penalty = 3;
  std::vector<float> close = {5, 4};
  CHECK(sample(close, options, std::vector<uint8_t>{1, 0}, 0) == 1);
}

TEST_CASE("sampler: top_logprobs gives the id first, then the most probable") {
  const std::vector<float> logits = {std::log(1.0F), std::log(4.0F), std::log(2.0F), -kInf,
                                     std::log(1.0F)};
  const auto list = top_logprobs(logits, 2, 3);
  REQUIRE(list.size() == 4);
  const std::vector<std::pair<int32_t, double>> expected = {
      {2, 0.25}, {1, 0.5}, {2, 0.25}, {0, 0.125}};
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(list[i].id == expected[i].first);
    CHECK(std::exp(list[i].logprob) == doctest::Approx(expected[i].second).epsilon(1e-6));
  }
  CHECK(top_logprobs(logits, 3, 0).size() == 1);
  CHECK(top_logprobs(logits, 3, 0)[0].logprob == -std::numeric_limits<double>::infinity());
  CHECK(top_logprobs(logits, 0, 100).size() == 6);
  CHECK(!internal_error([&] { top_logprobs(logits, 5, 1); }).empty());
  CHECK(!internal_error([&] { top_logprobs(logits, -1, 1); }).empty());
}
