// A number that two runs share exactly if their logits are the same to the bit.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace winnow {

/// FNV-1a, 64 bits, over the bit patterns of floats.
class LogitsHash {
 public:
  void add(std::span<const float> logits) {
    for (const float logit : logits) {
      const auto bits = std::bit_cast<uint32_t>(logit);
      for (int shift = 0; shift < 32; shift += 8) {
        hash_ = (hash_ ^ ((bits >> shift) & 0xffU)) * 0x100000001b3ULL;
      }
    }
  }

  /// 16 hexadecimal digits.
  std::string text() const {
    char digits[17];
    std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(hash_));
    return digits;
  }

 private:
  uint64_t hash_ = 0xcbf29ce484222325ULL;
};

}  // namespace winnow
