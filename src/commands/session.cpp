#include "src/commands/session.h"

#include "src/base/format_bytes.h"
#include "src/cli/interrupt.h"
#include "src/cli/progress.h"

namespace winnow {

ModelFiles noted(ModelFiles files, const Console& console) {
  for (const std::string& note : files.notes) console.note(note);
  return files;
}

int64_t context_size(const ModelConfig& config, int64_t requested, const Console& console) {
  if (requested == 0) return config.max_positions;
  if (requested > config.max_positions) {
    console.warn("-c " + std::to_string(requested) + ": the model was trained for " +
                 std::to_string(config.max_positions) + " tokens");
  }
  return requested;
}

Model load_with_progress(const ModelFiles& files, const ModelOptions& options,
                         const ComputeOptions& compute, const RunShape& shape,
                         const Console& console) {
  Progress progress(options.progress, "loading", "B");
  const LoadProgress update = [&](uint64_t done, uint64_t total) {
    check_interrupt();
    progress.update(done, total);
  };
  Model model =
      load_model(files, make_device(compute.device, files.config, compute.threads), shape, update);
  console.note(model.device->name() + ", " + format_bytes(files.plan.bytes) + " of weights");
  console.detail(model.device->arena().report());
  return model;
}

}  // namespace winnow
