// The score of a row that is kept or dropped by chance: the same bits on every device.
#pragma once

#include <cstdint>

namespace winnow {

/// A uniform number in [0, 1) that depends on the three alone. `list` is the query head's number
/// within its layer, `position` the row's place in the text.
///
///   mix(z)    the finaliser of splitmix64, a bijection in which every input bit moves every output
///             bit;  phi = 2^64 / golden ratio, rounded to an odd number
///   stream  = mix(seed + (list + 1) * phi)
///   score   = upper 24 bits of mix(stream + (position + 1) * phi), over 2^24
///
/// All but the last step is arithmetic modulo 2^64, and a float holds 24 bits exactly: nothing is
/// rounded. A counter in place of a state, so that rows may be drawn in any order.
constexpr float random_score(uint64_t seed, int64_t list, int32_t position) {
  constexpr uint64_t kPhi = 0x9e3779b97f4a7c15U;
  const auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  };
  const uint64_t stream = mix(seed + (static_cast<uint64_t>(list) + 1) * kPhi);
  const uint64_t bits = mix(stream + (static_cast<uint64_t>(position) + 1) * kPhi);
  return static_cast<float>(static_cast<uint32_t>(bits >> 40)) * 0x1p-24F;
}

}  // namespace winnow
