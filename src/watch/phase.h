// What a run does, one after the other. Compacting is a part of the pass that it happens in.
#pragma once

#include <array>
#include <cstddef>

namespace winnow {

enum class Phase { kLoad, kPrefill, kCompact, kDecode };

inline constexpr std::array<const char*, 4> kPhaseNames = {"load", "prefill", "compact", "decode"};

constexpr const char* phase_name(Phase phase) {
  return kPhaseNames[static_cast<size_t>(phase)];
}

}  // namespace winnow
