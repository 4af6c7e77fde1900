// What the commands that run the network share: opening, loading, and telling about it.
#pragma once

#include <cstdint>
#include <string>

#include "src/cli/console.h"
#include "src/cli/options.h"
#include "src/model.h"

namespace winnow {

/// Passes what the files have to say to the console, and gives them back.
ModelFiles noted(ModelFiles files, const Console& console);

/// The tokens a run may hold: `requested`, or what the model was trained for where that is 0. A
/// number beyond the training is allowed, with a warning.
int64_t context_size(const ModelConfig& config, int64_t requested, const Console& console);

/// Loads the weights behind a progress bar; a signal stops it.
Model load_with_progress(const ModelFiles& files, const ModelOptions& options,
                         const ComputeOptions& compute, const RunShape& shape,
                         const Console& console);

}  // namespace winnow
