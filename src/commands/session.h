// What the commands that run the network share: opening, loading, and telling about it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "src/cli/console.h"
#include "src/cli/options.h"
#include "src/model.h"
#include "src/watch/watched_device.h"

namespace winnow {

/// Passes what the files have to say to the console, and gives them back.
ModelFiles noted(ModelFiles files, const Console& console);

/// The tokens a run may hold: `requested`, or what the model was trained for where that is 0. A
/// number beyond the training is allowed, with a warning.
int64_t context_size(const ModelConfig& config, int64_t requested, const Console& console);

/// The device that the options ask for, watched by the observers, and by NVTX where there is CUDA;
/// notes go to the console.
std::unique_ptr<WatchedDevice> open_device(const ModelFiles& files, const ComputeOptions& compute,
                                           const Console& console, Observers observers = {});

/// What is kept, for a text of up to shape.capacity tokens whose prompts are read in turn: resolves
/// the options, says what they come to, and plans shape.kv. prompts [at least one, or none where
/// the text has begun]. Fails like resolve_kv.
void plan_kv_rows(const KvOptions& options, const ModelFiles& files, const Device& device,
                  std::span<const int64_t> prompts, RunShape& shape, const Console& console,
                  const KvStart& start = {});

/// Loads the weights behind a progress bar; a signal stops it.
Model load_with_progress(const ModelFiles& files, std::unique_ptr<Device> device,
                         const ModelOptions& options, const RunShape& shape,
                         const Console& console);

/// The same by a plan that was checked.
Model load_with_progress(const ModelFiles& files, std::unique_ptr<Device> device,
                         const ModelOptions& options, const MemoryPlan& plan,
                         const Console& console);

/// The same for runs that read a prompt together: see plan_memory_together.
Model load_with_progress(const ModelFiles& files, std::unique_ptr<Device> device,
                         const ModelOptions& options, std::span<const RunShape> shapes,
                         const Console& console);

}  // namespace winnow
