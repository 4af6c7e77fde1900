// What `winnow --version` says.
#pragma once

#include <string>

namespace winnow {

inline constexpr const char* kVersion = "0.1.0";

/// Lines: the version and the commit, which stand alone on the first; what it was built with and
/// for; and the libraries, those that are loaded or linked in now by their own word.
std::string version_text();

}  // namespace winnow
