// A look at every stored weight: NaN and infinity, which no forward pass survives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/loader.h"

namespace winnow {

/// The values of one tensor that are not finite.
struct NonFinite {
  std::string tensor;
  uint64_t nan = 0;          // how many are NaN
  uint64_t inf = 0;          // how many are +infinity or -infinity
  uint64_t first_index = 0;  // of the first of either, counted in elements
};

/// Every tensor that holds values which are not finite, by name. Reads all of the checkpoint, 8 MiB
/// at a time, and calls `progress` after each. Fails with kIo where a file cannot be read.
std::vector<NonFinite> find_non_finite(const Checkpoint& checkpoint, const LoadProgress& progress);

}  // namespace winnow
