// Eight floats at a time, left to the compiler: g++'s vector type becomes AVX registers where the
// target has them and pairs of SSE registers where not.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace winnow::cpu {

constexpr int64_t kLanes = 8;
using Vec = float __attribute__((vector_size(kLanes * sizeof(float))));

/// `from` needs no alignment.
inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Vec v) {
  std::memcpy(to, &v, sizeof(v));
}

// e^x = 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2. ln 2 is split in two, so that n * ln 2
// is exact to the last bits; the polynomial is the Taylor series to r^7 / 7!, whose next term is
// under 2^-26. No branch and no call, so that loops over it vectorise.
/// e^x to about one unit in the last place; 0 for x < -87.3 (and -infinity), finite up to 88.
inline float exp(float x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < -87.3F ? -87.3F : (x > 88.0F ? 88.0F : x);
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  // The integer n stands in the low bits of `shifted`; + 127 and << 23 make it a float's exponent.
  const uint32_t n_bits = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound);
  const float power = std::bit_cast<float>((n_bits + 127U) << 23);
  return x < -87.3F ? 0.0F : p * power;
}

}  // namespace winnow::cpu
