// Where a run stands: from the steps that a device is asked for, and nothing else, the spans of
// observer.h.
//
// What a batch is for is seen from it: a prompt's knows how long the text will be, a decode step's
// does not. A pass begins with embed; the weights of its first qkv are those of layer 0.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/device.h"
#include "src/device_profiler.h"
#include "src/watch/observer.h"

namespace winnow {

class Watch {
 public:
  /// Opens the device's profiler where one of the observers wants to hear of kernels.
  Watch(Device& device, Observers observers);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Tells of the step around run(). Fails like run(), and like the observers.
  template <class Run>
  void step(const Step& step, const Run& run) {
    if (!listening_) return run();
    begin_step(step);
    run();
    end_step();
  }

  /// The same of a recorded decode step.
  template <class Run>
  void token(const Run& run) {
    if (!listening_) return run();
    begin_token();
    run();
    end_token();
  }

  void load_begins();
  void load_ends();

  /// The host waits for the device: a pass that has its logits is over.
  void host_waits();

  /// Ends all spans, waits for the device, and tells what ran on it.
  void close();

  /// Whether observers hear anything from now on; both ways, all spans end first.
  void listen(bool on);

  /// What measures kernels, and why it is no better; see DeviceProfiler.
  std::string timer() const;
  std::string why_no_kernels() const { return profiler_ ? profiler_->why_no_kernels() : ""; }

 private:
  void begin_step(const Step& step);
  void end_step();
  void begin_token();
  void end_token();
  Place place_of(const Step& step);
  void enter(const Place& place);
  void enter_phase(Phase phase);
  void begin(const Span& span);
  void end();
  void end_to(size_t depth);
  bool is_open(SpanKind kind) const;
  void tell_kernels();

  Device& device_;
  Observers observers_;
  std::unique_ptr<DeviceProfiler> profiler_;
  bool listening_;
  std::vector<Span> open_;                     // the outermost first
  std::vector<Place> places_;                  // of the steps whose kernels were not told yet
  Step step_;                                  // that is open
  const LayerWeights* first_layer_ = nullptr;  // of the pass; null until it is there
  Phase pass_ = Phase::kPrefill;
  int64_t layer_ = -1;
  int64_t token_ = 0;
  bool token_is_new_ = false;  // it is open, and none of its steps came yet
  bool listed_ = false;        // rows were listed and not gathered yet
  bool has_logits_ = false;    // the pass has
};

}  // namespace winnow
