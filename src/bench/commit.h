// Which source was built, and for what.
#pragma once

#include <string>

namespace winnow {

/// What `git describe` said when the program was built, or "unknown".
std::string built_commit();

/// The processors that it was built for: "for the CPU alone", or "with CUDA 13.0 for sm_80, sm_90
/// and newer".
std::string built_for();

}  // namespace winnow
