// The CPU device's vectors of eight against the same numbers one by one.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "src/cpu/simd.h"

using namespace winnow;
using namespace winnow::cpu;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The greatest error of the eight, in parts of the true e^x.
double error_of_eight(Vec x) {
  double worst = 0;
  const Vec y = cpu::exp(x);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const double expected = std::exp(double{x[lane]});
    worst = std::max(worst, std::fabs(y[lane] - expected) / expected);
  }
  return worst;
}

/// Checks all 2^16 numbers of a type, NaN with all their bits.
template <class T>
void check_widening() {
  for (uint32_t first = 0; first < 65536; first += kLanes) {
    T stored[kLanes];
    for (uint32_t i = 0; i < kLanes; ++i) stored[i].bits = static_cast<uint16_t>(first + i);
    const UintVec bits = std::bit_cast<UintVec>(load(stored));
    for (uint32_t i = 0; i < kLanes; ++i) {
      REQUIRE(bits[i] == std::bit_cast<uint32_t>(to_float(stored[i])));
    }
  }
}

}  // namespace

TEST_CASE("exp is within two units of the last place, 0 far below and finite far above") {
  double worst = 0;
  for (int i = -872'000; i <= 880'000; ++i) {
    const float x = static_cast<float>(i) * 1e-4F;
    const double expected = std::exp(double{x});
    worst = std::max(worst, std::fabs(cpu::exp(x) - expected) / expected);
  }
  CHECK(worst < 2 * 0x1p-23);
  CHECK(cpu::exp(0.0F) == 1.0F);
  CHECK(cpu::exp(-88.0F) == 0.0F);
  CHECK(cpu::exp(-1e30F) == 0.0F);
  CHECK(cpu::exp(-kInfinity) == 0.0F);
  CHECK(std::isfinite(cpu::exp(1000.0F)));
  CHECK(std::isfinite(cpu::exp(kInfinity)));
  CHECK(std::isnan(cpu::exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("exp of eight is as exact in every lane, and special numbers stay in theirs") {
  double worst = 0;
  for (int i = -872'000; i <= 880'000 - 8; i += 8) {
    Vec x;
    for (int lane = 0; lane < kLanes; ++lane) x[lane] = static_cast<float>(i + lane) * 1e-4F;
    worst = std::max(worst, error_of_eight(x));
  }
  CHECK(worst < 2 * 0x1p-23);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Vec y = cpu::exp(Vec{0, -88, -kInfinity, 1000, kInfinity, nan, -1e30F, -0.0F});
  CHECK(y[0] == 1.0F);
  CHECK(y[1] == 0.0F);
  CHECK(y[2] == 0.0F);
  CHECK(std::isfinite(y[3]));
  CHECK(std::isfinite(y[4]));
  CHECK(std::isnan(y[5]));
  CHECK(y[6] == 0.0F);
  CHECK(y[7] == 1.0F);
}

TEST_CASE("between its last normal number and 0 exp never grows") {
  float before = 1;
  for (int i = 0; i <= 1000; ++i) {
    const float y = cpu::exp(-87.0F - static_cast<float>(i) * 1e-3F);
    CHECK(y <= before);
    before = y;
  }
  CHECK(before == 0.0F);
}

TEST_CASE("stored weights are widened eight at a time as one by one") {
  check_widening<BF16>();
  check_widening<F16>();
}

TEST_CASE("transpose turns rows into columns") {
  Vec v[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) v[i][j] = static_cast<float>(10 * i + j);
  }
  transpose(v);
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) CHECK(v[i][j] == static_cast<float>(10 * j + i));
  }
}

TEST_CASE("the greatest lane and the sum of lanes, wherever they are") {
  for (int lane = 0; lane < kLanes; ++lane) {
    Vec v = broadcast(-3);
    v[lane] = 5;
    CHECK(greatest(v) == 5);
    CHECK(sum_of(v) == -16);
    CHECK(cpu::max(v, broadcast(1))[lane] == 5);
    CHECK(cpu::min(v, broadcast(1))[lane] == 1);
    CHECK(cpu::min(v, broadcast(1))[(lane + 1) % kLanes] == -3);
  }
}
