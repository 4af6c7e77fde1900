// Memory of a region for as long as a block of code runs.
#pragma once

#include "src/arena.h"

namespace winnow {

/// Returns a region to where it was, also where an exception ends the block.
class ScratchScope {
 public:
  explicit ScratchScope(Region& region) : region_(region), mark_(region.mark()) {}
  ~ScratchScope() { region_.rewind(mark_); }
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;

 private:
  Region& region_;
  Region::Mark mark_;
};

}  // namespace winnow
