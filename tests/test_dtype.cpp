#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "src/base/dtype.h"
#include "tests/support/tiny_model.h"

namespace winnow {
namespace {

/// The value of a 16-bit float by definition: (-1)^s 2^(e - bias) 1.m, or 0.m where e is 0.
double by_definition(uint16_t bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits & 0x7fff) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * INFINITY : std::nan("");
  }
  const int hidden_one = exponent == 0 ? 0 : 1 << mantissa_bits;
  const int power = (exponent == 0 ? 1 : exponent) - bias - mantissa_bits;
  return sign * std::ldexp(mantissa + hidden_one, power);
}

bool same(float widened, double expected) {
  if (std::isnan(expected)) return std::isnan(widened);
  return static_cast<double>(widened) == expected &&
         std::signbit(widened) == std::signbit(expected);
}

TEST_CASE("every F16 value widens to exactly itself") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = static_cast<uint16_t>(bits);
    if (!same(to_float(F16{value}), by_definition(value, 5))) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("every BF16 value widens to exactly itself") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = static_cast<uint16_t>(bits);
    if (!same(to_float(BF16{value}), by_definition(value, 8))) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("rounding to F16 and BF16 is to the nearest, ties to even") {
  test::TestRandom random(1);
  int wrong = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const float value = std::ldexp(random.next(), static_cast<int>(20 * random.next()) - 4);
    if (std::fabs(value) < 65519 && from_float<F16>(value).bits != test::to_f16(value).bits)
      ++wrong;
    if (from_float<BF16>(value).bits != test::to_bf16(value).bits) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(from_float<F16>(65519.0F).bits == 0x7bff);  // the greatest
  CHECK(from_float<F16>(65520.0F).bits == 0x7c00);  // the tie goes to infinity
  CHECK(from_float<F16>(-1e30F).bits == 0xfc00);
  CHECK(from_float<F16>(1e-9F).bits == 0);
  CHECK(std::isnan(to_float(from_float<F16>(NAN))));
  CHECK(std::isnan(to_float(from_float<BF16>(std::bit_cast<float>(0x7f800001U)))));
}

TEST_CASE("the rounding of the test files is the inverse of widening") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = static_cast<uint16_t>(bits);
    const float half = to_float(F16{value});
    const float brain = to_float(BF16{value});
    if (std::isfinite(half) && test::to_f16(half).bits != value) ++wrong;
    if (std::isfinite(brain) && test::to_bf16(brain).bits != value) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(to_float(test::to_f16(1.0F + 0x1p-11F)) == 1.0F);             // a tie goes to even
  CHECK(to_float(test::to_f16(1.0F + 0x3p-11F)) == 1.0F + 0x2p-10F);  // up, here
  CHECK(to_float(test::to_bf16(1.0F + 0x1p-8F)) == 1.0F);
}

TEST_CASE("types have their sizes and names") {
  CHECK(dtype_size(DType::kF32) == 4);
  CHECK(dtype_size(DType::kF16) == 2);
  CHECK(dtype_size(DType::kBF16) == 2);
  CHECK(dtype_name(DType::kBF16) == "BF16");
  const auto size_of = [](DType type) {
    return with_dtype(type, []<class T>(const T*) { return sizeof(T); });
  };
  CHECK(size_of(DType::kF32) == 4);
  CHECK(size_of(DType::kF16) == 2);
  CHECK(size_of(DType::kBF16) == 2);
}

}  // namespace
}  // namespace winnow
