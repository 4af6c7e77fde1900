// The number types of a checkpoint, and how each becomes a float.
//
//   F32   s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm     1 + 8 + 23 bits
//   BF16  s eeeeeeee mmmmmmm                     1 + 8 + 7: the upper half of an F32
//   F16   s eeeee mmmmmmmmmm                     1 + 5 + 10
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace winnow {

static_assert(std::endian::native == std::endian::little, "checkpoints are little endian");

enum class DType { kF32, kF16, kBF16 };

struct F16 {
  uint16_t bits;
};

struct BF16 {
  uint16_t bits;
};

/// Bytes of one element.
constexpr uint64_t dtype_size(DType type) {
  return type == DType::kF32 ? 4 : 2;
}

/// The name that safetensors uses: "F32", "F16", "BF16".
constexpr std::string_view dtype_name(DType type) {
  switch (type) {
    case DType::kF32: return "F32";
    case DType::kF16: return "F16";
    case DType::kBF16: return "BF16";
  }
  return "?";
}

inline float to_float(float value) {
  return value;
}

inline float to_float(BF16 value) {
  return std::bit_cast<float>(uint32_t{value.bits} << 16);
}

// The exponent and mantissa move to their F32 places; multiplying by 2^112 corrects the exponent's
// bias (127 - 15) and is exact for denormals too. Without branches, so that loops vectorise.
inline float to_float(F16 value) {
  const uint32_t magnitude = uint32_t{value.bits} & 0x7fffU;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  const uint32_t infinity_or_nan = magnitude >= 0x7c00U ? 0x7f800000U : 0U;
  const uint32_t sign = (uint32_t{value.bits} & 0x8000U) << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | infinity_or_nan | sign);
}

/// Rounded to the nearest, ties to even.
template <class T>
T from_float(float value);

template <>
inline float from_float<float>(float value) {
  return value;
}

// Over 65519.996 comes infinity. Under 2^-14, where F16 has no exponent of its own any more, adding
// 0.5 rounds to its smallest step, 2^-24. Between, 13 bits of the mantissa are rounded away.
template <>
inline F16 from_float<F16>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffU;
  uint32_t half = 0x7e00U;  // NaN
  if (magnitude <= 0x7f800000U) half = 0x7c00U;
  if (magnitude < 0x477ff000U)
    half = (magnitude - (112U << 23) + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
  if (magnitude < 0x38800000U) {
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000U;
  }
  return {static_cast<uint16_t>(half | ((bits >> 16) & 0x8000U))};
}

// Half a unit of the last place is added, less one bit where the place is even; a NaN keeps a bit.
template <>
inline BF16 from_float<BF16>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return {static_cast<uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

/// Calls `body` with a null pointer of the C++ type of `type`: one place that turns a run-time type
/// into a template argument.
template <class Body>
decltype(auto) with_dtype(DType type, Body&& body) {
  switch (type) {
    case DType::kF16: return body(static_cast<const F16*>(nullptr));
    case DType::kBF16: return body(static_cast<const BF16*>(nullptr));
    case DType::kF32: break;
  }
  return body(static_cast<const float*>(nullptr));
}

}  // namespace winnow
