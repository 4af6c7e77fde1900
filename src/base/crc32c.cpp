#include "src/base/crc32c.h"

#include <nmmintrin.h>

#include <cstring>

namespace winnow {

// SSE4.2, which every processor with AVX2 has; said here for builds that do not ask for it.
__attribute__((target("sse4.2"))) uint32_t crc32c(std::span<const std::byte> bytes,
                                                  uint32_t before) {
  uint64_t crc = ~before;
  while (bytes.size() >= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof(word));
    crc = _mm_crc32_u64(crc, word);
    bytes = bytes.subspan(sizeof(word));
  }
  auto rest = static_cast<uint32_t>(crc);
  for (const std::byte byte : bytes) rest = _mm_crc32_u8(rest, static_cast<uint8_t>(byte));
  return ~rest;
}

}  // namespace winnow
