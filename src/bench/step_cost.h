// What a step that was watched had to move and compute: from its arguments to the costs of cost.h.
#pragma once

#include "src/bench/cost.h"
#include "src/watch/step.h"

namespace winnow {

/// Looks into `device` for what only it knows: rows of heads and zones, and how many are kept. What
/// a decode step's attention found is not looked for, and its cost is none here: see
/// BenchRecord::older. Steps that cost.h and score_cost.h do not know have none either. Fails like
/// Device::download.
Cost step_cost(const CostShape& shape, const Step& step, Device& device);

}  // namespace winnow
