// Eight floats at a time, left to the compiler: g++'s vector type becomes AVX registers where the
// target has them and pairs of SSE registers where not. Operators work lane by lane; a comparison
// gives lanes of -1 (true) and 0, and `condition ? a : b` picks lane by lane.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "src/base/dtype.h"

namespace winnow::cpu {

constexpr int64_t kLanes = 8;
using Vec = float __attribute__((vector_size(kLanes * sizeof(float))));
using UintVec = uint32_t __attribute__((vector_size(kLanes * sizeof(uint32_t))));
using IntVec = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

/// Eight neighbours; `from` needs no alignment.
inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Vec v) {
  std::memcpy(to, &v, sizeof(v));
}

/// Eight stored weights as they lie, one to a lane.
inline UintVec load_bits(const uint16_t* from) {
#if defined(__AVX2__)
  // One instruction, which g++ does not find by itself.
  const __m256i bits =
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return std::bit_cast<UintVec>(bits);
#else
  uint16_t __attribute__((vector_size(kLanes * sizeof(uint16_t)))) bits;
  std::memcpy(&bits, from, sizeof(bits));
  return __builtin_convertvector(bits, UintVec);
#endif
}

inline Vec load(const BF16* from) {
  return std::bit_cast<Vec>(load_bits(&from->bits) << 16);
}

inline Vec load(const F16* from) {
  const UintVec bits = load_bits(&from->bits);
  const UintVec magnitude = bits & 0x7fffU;
  const Vec scaled = std::bit_cast<Vec>(magnitude << 13) * 0x1p112F;
  const UintVec infinity_or_nan = magnitude >= 0x7c00U ? UintVec{} + 0x7f800000U : UintVec{};
  const UintVec sign = (bits & 0x8000U) << 16;
  return std::bit_cast<Vec>(std::bit_cast<UintVec>(scaled) | infinity_or_nan | sign);
}

inline Vec broadcast(float x) {
  return Vec{x, x, x, x, x, x, x, x};
}

// g++ makes four instructions of `a > b ? a : b`, where the target has one that does the same.
/// The greater; b where one of them is NaN.
inline Vec max(Vec a, Vec b) {
#if defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

inline float max(float a, float b) {
  return a > b ? a : b;
}

/// The smaller; b where one of them is NaN.
inline Vec min(Vec a, Vec b) {
#if defined(__AVX2__)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

inline float min(float a, float b) {
  return a < b ? a : b;
}

inline float greatest(Vec v) {
  float most = v[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) most = std::max(most, v[lane]);
  return most;
}

/// The sum of all lanes: halves, then quarters, then neighbours.
inline float sum_of(Vec v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// Three steps, each of which swaps blocks over the diagonal: 4 x 4, 2 x 2, single ones.
//
//   a b | c d        a b | e f         a and b stand for the halves of a register,
//   e f | g h   ->   c d | g h         quarters and eighths in the steps after it
//
/// Turns 8 rows of 8 into 8 columns: v[i][j] becomes v[j][i].
inline void transpose(Vec (&v)[kLanes]) {
  Vec a[kLanes];
  for (int i = 0; i < 4; ++i) {
    a[i] = __builtin_shufflevector(v[i], v[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    a[i + 4] = __builtin_shufflevector(v[i], v[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  Vec b[kLanes];
  for (int i = 0; i < 8; ++i) {
    if ((i & 2) != 0) continue;
    b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 2] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < 8; i += 2) {
    v[i] = __builtin_shufflevector(b[i], b[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    v[i + 1] = __builtin_shufflevector(b[i], b[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
}

/// The unsigned integers with the bits of T, a float or a Vec of them.
template <class T>
struct BitsOf {
  using Type = uint32_t;
};
template <>
struct BitsOf<Vec> {
  using Type = UintVec;
};

// e^x = 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2. ln 2 is split in two, so that n * ln 2
// is exact to the last bits; the polynomial is the Taylor series to r^7 / 7!, whose next term is
// under 2^-26. The least n is -127, whose power comes out as 0. No branch and no call.
template <class T>
T exp_of(T x) {
  using Bits = typename BitsOf<T>::Type;
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const T clamped = min(T{} + 88.0F, max(T{} - 87.7F, x));
  const T shifted = clamped * kLog2E + kRound;
  const T n = shifted - kRound;
  const T r = (clamped - n * kLn2High) - n * kLn2Low;
  T p = r * (1.0F / 5040) + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  // The integer n stands in the low bits of `shifted`; + 127 and << 23 make it a float's exponent.
  const Bits n_bits = std::bit_cast<Bits>(shifted) - std::bit_cast<uint32_t>(kRound);
  const T power = std::bit_cast<T>((n_bits + 127U) << 23);
  return p * power;
}

/// e^x to about one unit in the last place; 0 for x < -87.7 (and -infinity), finite above 88.
inline float exp(float x) {
  return exp_of(x);
}

inline Vec exp(Vec x) {
  return exp_of(x);
}

}  // namespace winnow::cpu
