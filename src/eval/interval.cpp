#include "src/eval/interval.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "src/base/error.h"

namespace winnow {
namespace {

constexpr double kZ = 1.959963984540054;  // 97.5 % of the normal distribution lie below

/// Wilson's interval for a mean of `p` over `n` > 0 samples.
Interval wilson(double p, double n) {
  const double z2 = kZ * kZ;
  const double center = p + z2 / (2 * n);
  const double half = kZ * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  const double scale = 1 + z2 / n;
  // At 0 and 1 the ends are exact, which rounding would miss.
  return {.low = p == 0 ? 0 : std::max(0.0, (center - half) / scale),
          .high = p == 1 ? 1 : std::min(1.0, (center + half) / scale)};
}

/// 97.5 % of Student's distribution with `freedom` >= 1 degrees lie below this.
double student_t(size_t freedom) {
  constexpr std::array kFew = {12.7062047, 4.3026527, 3.1824463, 2.7764451, 2.5705818};
  if (freedom <= kFew.size()) return kFew[freedom - 1];
  // Abramowitz and Stegun 26.7.5, up to the fourth power: from 6 degrees on, right to 1e-4.
  const double z = kZ;
  const double z3 = z * z * z;
  const double z5 = z3 * z * z;
  const double z7 = z5 * z * z;
  const double z9 = z7 * z * z;
  const double g1 = (z3 + z) / 4;
  const double g2 = (5 * z5 + 16 * z3 + 3 * z) / 96;
  const double g3 = (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / 384;
  const double g4 = (79 * z9 + 776 * z7 + 1482 * z5 - 1920 * z3 - 945 * z) / 92160;
  const auto v = static_cast<double>(freedom);
  return z + (g1 + (g2 + (g3 + g4 / v) / v) / v) / v;
}

}  // namespace

Interval wilson_interval(int64_t successes, int64_t n) {
  WINNOW_CHECK(successes >= 0 && successes <= n, successes, " of ", n);
  if (n == 0) return {.low = 0, .high = 1};
  return wilson(static_cast<double>(successes) / static_cast<double>(n), static_cast<double>(n));
}

Interval mean_interval(std::span<const double> scores) {
  if (scores.empty()) return {.low = 0, .high = 1};
  const auto n = static_cast<double>(scores.size());
  double sum = 0;
  bool binary = true;
  for (const double score : scores) {
    WINNOW_CHECK(score >= 0 && score <= 1, "score ", score);
    binary = binary && (score == 0 || score == 1);
    sum += score;
  }
  if (binary) return wilson(sum / n, n);

  const auto [least, most] = std::minmax_element(scores.begin(), scores.end());
  if (*least == *most) return wilson(*least, n);

  const double mean = sum / n;
  double squares = 0;
  for (const double score : scores) squares += (score - mean) * (score - mean);
  const double half = student_t(scores.size() - 1) * std::sqrt(squares / (n - 1) / n);
  return {.low = std::max(0.0, mean - half), .high = std::min(1.0, mean + half)};
}

}  // namespace winnow
