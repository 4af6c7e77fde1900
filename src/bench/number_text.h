// Numbers as the tables of bench write them.
#pragma once

#include <cstdio>
#include <string>

namespace winnow {

inline std::string fixed_number(double x, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, x);
  return text;
}

/// Four digits that count, more or less.
inline std::string short_number(double x) {
  return fixed_number(x, x < 10 ? 3 : x < 100 ? 2 : 1);
}

}  // namespace winnow
