// Where the time of whole passes goes: what ran in them, by the step that launched it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "src/bench/record.h"
#include "src/watch/observer.h"

namespace winnow {

/// A line of the table. Lines of single kernels follow the line of their step where it launched
/// more than one; their part of its work is not known.
struct KernelLine {
  std::string phase;   // "prefill", "compact", "decode"
  std::string step;    // "qkv"; "other": no step launched it; "gaps": nothing ran
  std::string kernel;  // the function's name; empty: all that the step did
  int64_t calls = 0;
  double seconds = 0;  // of all calls
  double part = 0;     // of the time that the passes took
  Cost cost;           // of all calls; none where it is not known
};

class KernelTable final : public Observer {
 public:
  /// `weights`: the type of matrices.
  KernelTable(const ModelConfig& config, DType weights)
      : shape_{.config = config, .weights = weights} {}

  void attach(Device& device, std::string_view timer) override;
  bool wants_kernels() const override { return true; }
  void begin(const Span& span) override;
  void end(const Span& span) override;
  void kernel(const Kernel& kernel) override;

  /// "cupti", "events" or "clock".
  const std::string& timer() const { return timer_; }

  /// Drops what was told so far: it ran before any pass that is measured.
  void forget();

  /// What was told since the last call, all of it of the passes that `record` is about; all spans
  /// have ended. Longest first.
  std::vector<KernelLine> take(const BenchRecord& record);

 private:
  struct Time {
    int64_t calls = 0;
    double seconds = 0;
  };
  struct StepTime : Time {
    Cost cost;
    std::map<std::string, Time> kernels;
  };
  using Key = std::pair<Phase, StepKind>;

  std::vector<KernelLine> lines_of(const Key& key, const StepTime& step, double all_seconds) const;

  CostShape shape_;
  Device* device_ = nullptr;
  std::string timer_;
  std::map<Key, StepTime> steps_;
  Time other_;
  int64_t begun_ns_ = 0;  // of the step that is open
  int64_t busy_ns_ = 0;   // until when the device was at work as far as was told
};

}  // namespace winnow
