// splitmix64 as a counted generator: numbers that depend on a seed and a place alone, so that they
// may be made in any order, on any device.
#pragma once

#include <cstdint>

namespace winnow {

/// splitmix64's finaliser: a bijection in which every input bit moves every output bit.
constexpr uint64_t splitmix_mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Number i of the stream of `seed`: mix(seed + (i + 1) * phi), phi = 2^64 / golden ratio, odd.
constexpr uint64_t splitmix64(uint64_t seed, uint64_t i) {
  return splitmix_mix(seed + (i + 1) * 0x9e3779b97f4a7c15U);
}

}  // namespace winnow
