// Arithmetic for sizes that come out of files: the result, or nothing where 64 bits overflow.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace winnow {

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// a * b * more..., from left to right.
template <std::same_as<uint64_t>... More>
std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b, More... more) {
  const std::optional<uint64_t> product = checked_mul(a, b);
  if constexpr (sizeof...(more) == 0) {
    return product;
  } else {
    return product ? checked_mul(*product, more...) : std::nullopt;
  }
}

/// The smallest multiple of `unit` that is at least `n`; `unit` is not 0.
inline std::optional<uint64_t> checked_round_up(uint64_t n, uint64_t unit) {
  const std::optional<uint64_t> padded = checked_add(n, unit - 1);
  if (!padded) return std::nullopt;
  return *padded / unit * unit;
}

}  // namespace winnow
