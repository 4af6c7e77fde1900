// CRC-32C (Castagnoli), as in iSCSI and ext4: the checksum that x86 has an instruction for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace winnow {

/// The checksum of `bytes` behind bytes whose checksum is `before`: crc32c(b, crc32c(a)) is that of
/// a and b in one. Polynomial 0x1EDC6F41, reflected, inverted at both ends; that of "123456789" is
/// 0xE3069283.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before = 0);

}  // namespace winnow
