// Random numbers to compute with, and how far two results are apart.
#pragma once

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "tests/support/shown.h"
#include "tests/support/tiny_model.h"

namespace winnow::test {

inline std::vector<float> random_floats(int64_t n, uint64_t seed, float scale = 1) {
  TestRandom random(seed);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = scale * random.next();
  return values;
}

/// What an operation must overwrite: any of it that is left shows.
inline std::vector<float> poisoned(int64_t n) {
  return std::vector<float>(static_cast<size_t>(n), std::numeric_limits<float>::quiet_NaN());
}

/// Mean squared difference over mean square of `expected`; NaN where either holds one.
template <class A, class B>
double nmse(const A& actual, const B& expected) {
  double difference = 0;
  double square = 0;
  for (size_t i = 0; i < std::size(expected); ++i) {
    const double e = expected[i];
    const double a = actual[i];
    difference += (a - e) * (a - e);
    square += e * e;
  }
  return difference == 0 ? 0 : difference / square;
}

template <class A, class B>
double max_difference(const A& actual, const B& expected) {
  double most = 0;
  for (size_t i = 0; i < std::size(expected); ++i) {
    const double difference = std::fabs(double{actual[i]} - double{expected[i]});
    if (!(difference <= most)) most = difference;  // keeps a NaN
  }
  return most;
}

}  // namespace winnow::test
