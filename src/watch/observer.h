// Who watches a run hears of spans that lie inside each other, and of what ran on the device:
//
//   prefill                                            decode
//     embed                                              token 1
//     layer 0                                              embed
//       qkv  attention  attention_output  gate_up  down    layer 0 ...
//       compact                                            logits  advance  sample
//         attention_scores  top_k  ...                   token 2 ...
//     layer 1 ...
//     logits
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "src/watch/step.h"

namespace winnow {

enum class SpanKind { kPhase, kToken, kLayer, kStep };

/// From begin to end the same, but that `step` is null at the end where the step failed.
struct Span {
  SpanKind kind = SpanKind::kPhase;
  const char* name = "";       // "prefill", "token", "layer", "qkv": lives as long as the program
  Phase phase = Phase::kLoad;  // that it belongs to
  int64_t number = -1;         // of the token, from 1, or of the layer, from 0; of a step the layer
  const Step* step = nullptr;  // kStep only; during the call
};

/// What ran on the device, told some time after it did.
struct Kernel {
  std::string_view name;         // of the function; empty: all that the step launched
  const Place* place = nullptr;  // of the step that launched it; null: none did, or a graph
  int64_t start_ns = 0;          // of std::chrono::steady_clock
  int64_t end_ns = 0;
};

/// Steps that a GPU replays as a graph are told only while the graph is made: a token's span then
/// has no steps in it. Where an observer fails, so does the run.
class Observer {
 public:
  virtual ~Observer() = default;

  /// Once, before all else. `timer`: what measures kernels: "cupti", "events"; "clock" where there
  /// are none, because steps are done when they return.
  virtual void attach(Device& /*device*/, std::string_view /*timer*/) {}
  virtual bool wants_kernels() const { return false; }

  virtual void begin(const Span& /*span*/) {}
  virtual void end(const Span& /*span*/) {}
  virtual void kernel(const Kernel& /*kernel*/) {}
};

using Observers = std::vector<std::shared_ptr<Observer>>;

}  // namespace winnow
