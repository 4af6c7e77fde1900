// Confidence intervals against published values, SciPy's, and the equation that Wilson's solves.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "src/eval/interval.h"
#include "tests/support/expect_error.h"

namespace winnow::test {
namespace {

void check_interval(const Interval& interval, double low, double high) {
  CHECK(std::fabs(interval.low - low) < 0.00006);
  CHECK(std::fabs(interval.high - high) < 0.00006);
}

std::vector<double> binary_scores(int64_t successes, int64_t n) {
  std::vector<double> scores(static_cast<size_t>(n), 0.0);
  std::fill_n(scores.begin(), successes, 1.0);
  return scores;
}

TEST_CASE("wilson: the examples of Newcombe 1998, table I, method 3") {
  check_interval(wilson_interval(81, 263), 0.2553, 0.3662);
  check_interval(wilson_interval(15, 148), 0.0624, 0.1605);
  check_interval(wilson_interval(0, 20), 0.0000, 0.1611);
  check_interval(wilson_interval(1, 29), 0.0061, 0.1718);
}

TEST_CASE("wilson: its ends are the shares x that are z deviations away") {
  // |p - x| = z sqrt(x (1 - x) / n), and the ends of the range where nothing or all succeeded.
  const double z = 1.959963984540054;
  for (const int64_t n : {1, 2, 7, 50, 1000000}) {
    for (const int64_t k : {int64_t{0}, int64_t{1}, n / 2, n - 1, n}) {
      CAPTURE(n);
      CAPTURE(k);
      const double p = static_cast<double>(k) / static_cast<double>(n);
      const Interval interval = wilson_interval(k, n);
      CHECK(interval.low < interval.high);
      const auto deviations = [&](double x) {
        return std::fabs(p - x) / std::sqrt(x * (1 - x) / static_cast<double>(n));
      };
      if (k == 0) {
        CHECK(interval.low == 0);
      } else {
        CHECK(deviations(interval.low) == doctest::Approx(z).epsilon(1e-6));
      }
      if (k == n) {
        CHECK(interval.high == 1);
      } else {
        CHECK(deviations(interval.high) == doctest::Approx(z).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("intervals: no samples say nothing") {
  check_interval(wilson_interval(0, 0), 0, 1);
  check_interval(mean_interval({}), 0, 1);
}

TEST_CASE("wilson: counts that cannot be are internal errors") {
  expect_error(ExitCode::kInternal, {"3 of 2"}, [] { wilson_interval(3, 2); });
  expect_error(ExitCode::kInternal, {"-1 of 2"}, [] { wilson_interval(-1, 2); });
  expect_error(ExitCode::kInternal, {"0 of -1"}, [] { wilson_interval(0, -1); });
}

TEST_CASE("mean: scores of 0 and 1 have Wilson's interval") {
  for (const int64_t k : {0, 1, 15, 147, 148}) {
    CAPTURE(k);
    const Interval mean = mean_interval(binary_scores(k, 148));
    const Interval wilson = wilson_interval(k, 148);
    CHECK(mean.low == wilson.low);
    CHECK(mean.high == wilson.high);
  }
}

TEST_CASE("mean: other scores have Student's interval, cut off at 0 and 1") {
  // scipy.stats.t.interval(0.95, n - 1, mean, sem).
  check_interval(mean_interval(std::vector{0.2, 0.4}), 0, 1);  // -0.97..1.57
  check_interval(mean_interval(std::vector{0.5, 0.5, 0.9, 1.0}), 0.306515, 1);
  check_interval(mean_interval(std::vector{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}), 0.245218,
                 0.654782);
}

TEST_CASE("mean: the factor of Student's interval for few and for many samples") {
  // scipy.stats.t.ppf(0.975, n - 1). Half of the scores lie 0.01 below 0.5 and half above: their
  // deviation s is 0.01 sqrt(n / (n - 1)), and the half width is t s / sqrt(n).
  struct Known {
    int n;
    double t;
  };
  const Known known[] = {{2, 12.706205}, {4, 3.182446},  {6, 2.570582},  {8, 2.364624},
                         {10, 2.262157}, {20, 2.093024}, {30, 2.045230}, {100, 1.984217}};
  for (const Known& k : known) {
    CAPTURE(k.n);
    std::vector<double> scores;
    for (int i = 0; i < k.n; ++i) scores.push_back(i % 2 == 0 ? 0.49 : 0.51);
    const Interval interval = mean_interval(scores);
    const double unit = 0.01 / std::sqrt(k.n - 1);
    CHECK((interval.high - 0.5) / unit == doctest::Approx(k.t).epsilon(1e-4));
    CHECK((0.5 - interval.low) / unit == doctest::Approx(k.t).epsilon(1e-4));
  }
}

TEST_CASE("mean: scores that are all the same have the widest spread that their mean allows") {
  // The roots of (p - x)^2 = z^2 x (1 - x) / n, for p = 0.5.
  check_interval(mean_interval(std::vector{0.5}), 0.054621, 0.945379);
  check_interval(mean_interval(std::vector(5, 0.5)), 0.170424, 0.829576);
}

TEST_CASE("mean: a score that is none is an internal error") {
  for (const double score : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
    expect_error(ExitCode::kInternal, {"score"}, [&] {
      mean_interval(std::vector{0.5, score, 1.0});
    });
  }
}

}  // namespace
}  // namespace winnow::test
