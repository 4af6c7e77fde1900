// A timeline of a run as JSON, for https://ui.perfetto.dev or chrome://tracing (the Trace Event
// Format): phases, tokens, layers and steps inside each other, what ran on a GPU below them, and
// the arena's memory as a counter.
//
//   {"displayTimeUnit": "ms", "otherData": {...}, "traceEvents": [
//     {"ph": "X", "name": "qkv", "cat": "step", "ts": 12.5, "dur": 3.1, "pid": 1, "tid": 1, ...},
//     {"ph": "C", "name": "memory", "ts": 12.5, "pid": 1, "args": {"held": ..., "highest": ...}},
//     ...]}
//
// Times are microseconds since the trace was opened.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/base/new_file.h"
#include "src/watch/observer.h"

namespace winnow {

class TraceFile final : public Observer {
 public:
  /// Fails with kIo where the file cannot be made.
  explicit TraceFile(const std::filesystem::path& path);

  /// Where nothing was finished, the file says what was told until then; if nothing was, what was
  /// there before stays.
  ~TraceFile() override;

  /// All spans have ended. Once. Fails with kIo.
  void finish();

  void attach(Device& device, std::string_view timer) override;
  bool wants_kernels() const override { return true; }
  void begin(const Span& span) override;
  void end(const Span& span) override;
  void kernel(const Kernel& kernel) override;

 private:
  double microseconds(int64_t steady_ns) const;
  double now() const;
  void add(const std::string& event);
  void add_memory();
  void write_out();

  NewFile file_;
  std::string pending_;
  uint64_t written_ = 0;  // bytes
  bool finished_ = false;
  int64_t n_events_ = 0;
  int64_t zero_ns_;            // of steady_clock
  std::vector<double> begun_;  // of the spans that are open
  const Device* device_ = nullptr;
  uint64_t held_ = 0;     // bytes that the arena held when it was last said
  uint64_t highest_ = 0;  // the most
};

}  // namespace winnow
