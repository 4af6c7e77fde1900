// The score of a row that is kept or dropped by chance: the same bits on every device.
#pragma once

#include <cstdint>

#include "src/base/splitmix.h"

namespace winnow {

/// A uniform number in [0, 1) that depends on the three alone. `list` is the query head's number
/// within its layer, `position` the row's place in the text.
///
///   score = upper 24 bits of number `position` of the stream that is number `list` of `seed`, /
///   2^24
///
/// A float holds 24 bits exactly: nothing is rounded.
constexpr float random_score(uint64_t seed, int64_t list, int32_t position) {
  const uint64_t stream = splitmix64(seed, static_cast<uint64_t>(list));
  const uint64_t bits = splitmix64(stream, static_cast<uint64_t>(position));
  return static_cast<float>(static_cast<uint32_t>(bits >> 40)) * 0x1p-24F;
}

}  // namespace winnow
