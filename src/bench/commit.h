// Which source was built.
#pragma once

#include <string>

namespace winnow {

/// What `git describe` said when the program was built, or "unknown".
std::string built_commit();

}  // namespace winnow
