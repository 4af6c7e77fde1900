// Sizes as people read them.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

namespace winnow {

/// "512 B", "1.5 KiB", "64.0 MiB", "2.3 GiB", "1.1 TiB".
inline std::string format_bytes(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", bytes, kUnits[unit]);
  return text.data();
}

inline std::string format_bytes(uint64_t bytes) {
  return format_bytes(static_cast<double>(bytes));
}

}  // namespace winnow
