#include "src/watch/trace_file.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

namespace winnow {
namespace {

constexpr size_t kBlockBytes = 1 << 20;
constexpr int kHostTrack = 1;
constexpr int kDeviceTrack = 2;

int64_t steady_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const char* category(SpanKind kind) {
  switch (kind) {
    case SpanKind::kPhase: return "phase";
    case SpanKind::kToken: return "token";
    case SpanKind::kLayer: return "layer";
    case SpanKind::kStep: return "step";
  }
  return "?";
}

/// A span that is complete; `more` are further members, each with a comma before it.
std::string complete_event(std::string_view name, const char* cat, double from, double to,
                           int track, const std::string& more) {
  char numbers[128];
  std::snprintf(numbers, sizeof(numbers), R"(,"ts":%.3f,"dur":%.3f,"pid":1,"tid":%d)", from,
                to - from, track);
  return R"({"ph":"X","name":)" + json_string(name) + R"(,"cat":")" + cat + '"' + numbers + more +
         '}';
}

std::string name_event(const char* what, int track, const std::string& name) {
  return R"({"ph":"M","pid":1,"tid":)" + std::to_string(track) + R"(,"name":")" + what +
         R"(","args":{"name":)" + json_string(name) + "}}";
}

}  // namespace

TraceFile::TraceFile(const std::filesystem::path& path) : file_(path), zero_ns_(steady_ns()) {}

TraceFile::~TraceFile() {
  try {
    if (!finished_ && n_events_ > 0) finish();
  } catch (const std::exception&) {
    // The run has failed already, and says why.
  }
}

void TraceFile::attach(Device& device, std::string_view timer) {
  device_ = &device;
  const nlohmann::json about = {{"device", device.name()}, {"timer", timer}};
  pending_ = R"({"displayTimeUnit":"ms","otherData":)" + about.dump() + R"(,"traceEvents":[)";
  pending_ += "\n" + name_event("process_name", kHostTrack, "winnow on " + device.name());
  const bool kernels = timer != "clock";
  pending_ += ",\n" + name_event("thread_name", kHostTrack,
                                 kernels ? "host: steps as they are launched" : "steps");
  if (!kernels) return;
  pending_ += ",\n" + name_event("thread_name", kDeviceTrack, "GPU: by " + std::string(timer));
}

void TraceFile::begin(const Span& /*span*/) {
  add_memory();
  begun_.push_back(now());
}

void TraceFile::end(const Span& span) {
  const double from = begun_.back();
  begun_.pop_back();
  std::string name = span.name;
  std::string args;
  if (span.kind == SpanKind::kToken || span.kind == SpanKind::kLayer) {
    name += ' ' + std::to_string(span.number);
  }
  if (span.number >= 0) {
    args = std::string(span.kind == SpanKind::kToken ? R"("token":)" : R"("layer":)") +
           std::to_string(span.number);
  }
  if (span.step != nullptr && span.step->batch != nullptr) {
    args += (args.empty() ? R"("rows":)" : R"(,"rows":)") + std::to_string(span.step->batch->n);
  }
  add(complete_event(name, category(span.kind), from, now(), kHostTrack,
                     args.empty() ? "" : R"(,"args":{)" + args + '}'));
  add_memory();
}

void TraceFile::kernel(const Kernel& kernel) {
  std::string args;
  std::string_view name = kernel.name;
  if (kernel.place != nullptr) {
    const Place& place = *kernel.place;
    if (name.empty()) name = step_name(place.kind);
    args = std::string(R"(,"args":{"step":")") + step_name(place.kind) + R"(","phase":")" +
           phase_name(place.phase) + '"';
    if (place.layer >= 0) args += R"(,"layer":)" + std::to_string(place.layer);
    args += '}';
  }
  add(complete_event(name, "kernel", microseconds(kernel.start_ns), microseconds(kernel.end_ns),
                     kDeviceTrack, args));
}

void TraceFile::finish() {
  finished_ = true;
  pending_ += "\n]}\n";
  write_out();
  file_.commit();
}

double TraceFile::microseconds(int64_t at_ns) const {
  return static_cast<double>(at_ns - zero_ns_) * 1e-3;
}

double TraceFile::now() const {
  return microseconds(steady_ns());
}

void TraceFile::add(const std::string& event) {
  ++n_events_;
  pending_ += ",\n" + event;
  if (pending_.size() >= kBlockBytes) write_out();
}

/// Said where it is another than before.
void TraceFile::add_memory() {
  const Arena& arena = device_->arena();
  if (n_events_ > 0 && arena.committed() == held_ && arena.high_water() == highest_) return;
  held_ = arena.committed();
  highest_ = arena.high_water();
  char event[192];
  std::snprintf(
      event, sizeof(event),
      R"({"ph":"C","name":"memory","ts":%.3f,"pid":1,"args":{"held":%llu,"highest":%llu}})", now(),
      static_cast<unsigned long long>(held_), static_cast<unsigned long long>(highest_));
  add(event);
}

void TraceFile::write_out() {
  file_.write_at(written_, std::as_bytes(std::span(pending_)));
  written_ += pending_.size();
  pending_.clear();
}

}  // namespace winnow
