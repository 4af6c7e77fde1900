// Who watches a run, by its options.
#pragma once

#include <memory>
#include <optional>

#include "src/cli/options.h"
#include "src/dump_place.h"
#include "src/watch/trace_file.h"
#include "src/watch/watched_device.h"

namespace winnow {

class Watching {
 public:
  /// Opens the trace. Fails with kIo.
  explicit Watching(const ProfileOptions& options);

  void add(std::shared_ptr<Observer> observer) { observers_.push_back(std::move(observer)); }
  void dump_to(const std::optional<DumpPlace>& place);

  const Observers& observers() const { return observers_; }

  /// The run is through: the trace becomes a file. What is not finished becomes one, too, as far as
  /// it went, once nobody holds its observer. Fails with kIo.
  void finish(WatchedDevice& device);

 private:
  Observers observers_;
  std::shared_ptr<TraceFile> trace_;  // null: none
};

/// The place of a dump that was asked for. Fails like DumpPlace.
std::optional<DumpPlace> open_dump(const DumpOptions& options, const ModelConfig& config);

}  // namespace winnow
