// FNV-1a: a short hash of bytes that names what they are. No protection against intent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace winnow {

/// FNV-1a, 64 bits.
class Fnv64 {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) {
      hash_ = (hash_ ^ static_cast<uint64_t>(byte)) * 0x100000001b3ULL;
    }
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }

  /// Eight bytes, little endian.
  void add(uint64_t number) { add(std::as_bytes(std::span(&number, 1))); }

  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325ULL;
};

}  // namespace winnow
