// The one file that is built anew for each commit: see the Makefile.
#include "src/bench/commit.h"

namespace winnow {

std::string built_commit() {
#ifdef WINNOW_COMMIT
  return WINNOW_COMMIT;
#else
  return "unknown";
#endif
}

std::string built_for() {
#ifdef WINNOW_BUILT_FOR
  return WINNOW_BUILT_FOR;
#else
  return "for the CPU alone";
#endif
}

}  // namespace winnow
