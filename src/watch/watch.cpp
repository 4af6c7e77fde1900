#include "src/watch/watch.h"

#include <algorithm>
#include <utility>

namespace winnow {

Watch::Watch(Device& device, Observers observers)
    : device_(device), observers_(std::move(observers)), listening_(!observers_.empty()) {
  const bool kernels =
      std::ranges::any_of(observers_, [](const auto& o) { return o->wants_kernels(); });
  if (kernels) profiler_ = device_.open_profiler();
  for (const auto& observer : observers_) observer->attach(device_, timer());
}

Watch::~Watch() {
  try {
    close();
  } catch (const std::exception&) {
    // Whatever ended the run is known; what was told until then is all that there is.
  }
}

std::string Watch::timer() const {
  return profiler_ ? std::string(profiler_->name()) : "clock";
}

void Watch::load_begins() {
  if (listening_) enter_phase(Phase::kLoad);
}

void Watch::load_ends() {
  if (!open_.empty() && open_.front().phase == Phase::kLoad) end_to(0);
}

void Watch::begin_step(const Step& step) {
  const Place place = place_of(step);
  enter(place);
  step_ = step;
  begin({SpanKind::kStep, step_name(step.kind), place.phase, place.layer, &step_});
  if (!profiler_) return;
  places_.push_back(place);
  profiler_->begin_step(places_.size());
}

void Watch::end_step() {
  if (profiler_) profiler_->end_step();
  has_logits_ |= step_.kind == StepKind::kLogits;
  end();
}

void Watch::begin_token() {
  enter_phase(Phase::kDecode);
  end_to(1);
  begin({SpanKind::kToken, "token", Phase::kDecode, ++token_});
  token_is_new_ = true;
}

void Watch::end_token() {
  token_is_new_ = false;
  end_to(1);
}

/// Which layer it is: by its weights, or else the one that is open. Rows that are turned, chosen to
/// be gone over, or gathered without having been listed, are the next layer's, which their step
/// prepares.
Place Watch::place_of(const Step& step) {
  if (step.kind == StepKind::kEmbed) {
    first_layer_ = nullptr;
    layer_ = -1;
    has_logits_ = false;
    listed_ = false;
  }
  if (step.batch != nullptr) pass_ = step.batch->length > 0 ? Phase::kPrefill : Phase::kDecode;
  if (step.kind == StepKind::kSample || step.kind == StepKind::kAdvance) pass_ = Phase::kDecode;
  if (step.weights != nullptr) {
    if (first_layer_ == nullptr) first_layer_ = step.weights;
    layer_ = step.weights - first_layer_;
  }
  Place place{.kind = step.kind, .phase = pass_, .layer = layer_};
  if (is_winnowing(step.kind)) place.phase = Phase::kCompact;
  if (step.kind == StepKind::kListKept) listed_ = true;
  if (step.kind == StepKind::kGatherRows && !std::exchange(listed_, false)) ++place.layer;
  const bool prepares = step.kind == StepKind::kRotateRows || step.kind == StepKind::kChooseSlots;
  if (prepares) ++place.layer;
  const bool around = step.kind == StepKind::kEmbed || step.kind == StepKind::kLogits ||
                      step.kind == StepKind::kSample || step.kind == StepKind::kAdvance ||
                      step.kind == StepKind::kSummarizePages;
  if (around) place.layer = -1;
  return place;
}

/// Ends what the step is not in, and begins what it is in.
void Watch::enter(const Place& place) {
  enter_phase(pass_);
  const bool new_token = place.kind == StepKind::kEmbed && pass_ == Phase::kDecode;
  // A recorded token was begun before its embed; any other begins with it.
  if (new_token && !std::exchange(token_is_new_, false)) begin_token();
  token_is_new_ = false;
  const size_t outer = is_open(SpanKind::kToken) ? 2 : 1;
  const bool same = open_.size() > outer ? open_[outer].kind == SpanKind::kLayer &&
                                               open_[outer].number == place.layer
                                         : place.layer < 0;
  if (!same) {
    end_to(outer);
    if (place.layer >= 0) begin({SpanKind::kLayer, "layer", pass_, place.layer});
  }
  const bool compacting = open_.back().phase == Phase::kCompact;
  if (compacting && place.phase != Phase::kCompact) end();
  if (!compacting && place.phase == Phase::kCompact) {
    begin({SpanKind::kPhase, phase_name(Phase::kCompact), Phase::kCompact, place.layer});
  }
}

void Watch::enter_phase(Phase phase) {
  if (!open_.empty() && open_.front().phase == phase) return;
  close();
  token_ = 0;
  begin({SpanKind::kPhase, phase_name(phase), phase});
}

void Watch::host_waits() {
  if (open_.empty() || !has_logits_) return;
  has_logits_ = false;
  if (open_.front().phase == Phase::kPrefill) close();
  if (is_open(SpanKind::kToken)) end_to(1);
}

void Watch::close() {
  end_to(0);
  tell_kernels();
}

void Watch::listen(bool on) {
  close();
  listening_ = on && !observers_.empty();
  if (profiler_) profiler_->collect([](const KernelRun&) {});  // what ran unheard
}

void Watch::begin(const Span& span) {
  open_.push_back(span);
  for (const auto& observer : observers_) observer->begin(open_.back());
}

void Watch::end() {
  const Span span = open_.back();
  open_.pop_back();
  for (const auto& observer : observers_) observer->end(span);
}

/// A step that is still open did not end well: what it was called with may be gone.
void Watch::end_to(size_t depth) {
  for (; open_.size() > depth; end()) open_.back().step = nullptr;
}

bool Watch::is_open(SpanKind kind) const {
  return std::ranges::any_of(open_, [&](const Span& span) { return span.kind == kind; });
}

void Watch::tell_kernels() {
  if (!profiler_ || !listening_) return;
  profiler_->collect([&](const KernelRun& run) {
    const bool known = run.step > 0 && run.step <= places_.size();
    const Kernel kernel{.name = run.name,
                        .place = known ? &places_[run.step - 1] : nullptr,
                        .start_ns = run.start_ns,
                        .end_ns = run.end_ns};
    for (const auto& observer : observers_) observer->kernel(kernel);
  });
  places_.clear();
}

}  // namespace winnow
