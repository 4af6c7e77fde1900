#include "src/commands/watching.h"

#include "src/watch/profile_range.h"
#include "src/watch/step_dump.h"

namespace winnow {

Watching::Watching(const ProfileOptions& options) {
  if (!options.trace.empty()) add(trace_ = std::make_shared<TraceFile>(options.trace));
  if (options.range) add(std::make_shared<ProfileRange>(*options.range));
}

void Watching::dump_to(const std::optional<DumpPlace>& place) {
  if (place) add(std::make_shared<StepDump>(*place));
}

void Watching::finish(WatchedDevice& device) {
  device.watch().close();
  if (trace_) trace_->finish();
}

std::optional<DumpPlace> open_dump(const DumpOptions& options, const ModelConfig& config) {
  if (options.dir.empty()) return std::nullopt;
  return DumpPlace(options.dir, options.layers, config);
}

}  // namespace winnow
