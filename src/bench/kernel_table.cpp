#include "src/bench/kernel_table.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "src/bench/step_cost.h"

namespace winnow {
namespace {

int64_t steady_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

void KernelTable::attach(Device& device, std::string_view timer) {
  device_ = &device;
  timer_ = timer;
  shape_.rows = device.compute_type();
}

void KernelTable::begin(const Span& span) {
  if (span.kind == SpanKind::kStep) begun_ns_ = steady_ns();
}

void KernelTable::end(const Span& span) {
  const int64_t now = steady_ns();
  if (span.kind != SpanKind::kStep || span.step == nullptr) return;
  StepTime& step = steps_[{span.phase, span.step->kind}];
  ++step.calls;
  step.cost += step_cost(shape_, *span.step, *device_);
  if (timer_ == "clock") step.seconds += static_cast<double>(now - begun_ns_) * 1e-9;
}

/// Kernels may overlap: one that starts early waits for the one before it. Each counts from where
/// that one ended, so that all together are the time in which anything ran.
void KernelTable::kernel(const Kernel& kernel) {
  const int64_t from = std::max(kernel.start_ns, busy_ns_);
  busy_ns_ = std::max(busy_ns_, kernel.end_ns);
  const double seconds = static_cast<double>(std::max<int64_t>(kernel.end_ns - from, 0)) * 1e-9;
  if (kernel.place == nullptr) {
    ++other_.calls;
    other_.seconds += seconds;
    return;
  }
  StepTime& step = steps_[{kernel.place->phase, kernel.place->kind}];
  step.seconds += seconds;
  if (kernel.name.empty()) return;
  Time& time = step.kernels[std::string(kernel.name)];
  ++time.calls;
  time.seconds += seconds;
}

void KernelTable::forget() {
  steps_.clear();
  other_ = {};
}

std::vector<KernelLine> KernelTable::lines_of(const Key& key, const StepTime& step,
                                              double all_seconds) const {
  const auto line = [&](const std::string& kernel, const Time& time) {
    return KernelLine{.phase = phase_name(key.first),
                      .step = step_name(key.second),
                      .kernel = kernel,
                      .calls = time.calls,
                      .seconds = time.seconds,
                      .part = time.seconds / all_seconds,
                      .cost = {}};
  };
  const bool alone = step.kernels.size() == 1;
  std::vector<KernelLine> lines = {line(alone ? step.kernels.begin()->first : "", step)};
  lines.front().cost = step.cost;
  if (alone) return lines;
  for (const auto& [name, time] : step.kernels) lines.push_back(line(name, time));
  std::ranges::stable_sort(lines.begin() + 1, lines.end(), std::greater<>(), &KernelLine::seconds);
  return lines;
}

std::vector<KernelLine> KernelTable::take(const BenchRecord& record) {
  const double all = std::accumulate(record.seconds.begin(), record.seconds.end(), 0.0);
  std::vector<std::pair<Key, StepTime>> steps(steps_.begin(), steps_.end());
  std::ranges::stable_sort(steps, [](const auto& a, const auto& b) {
    const bool same = a.first.first == b.first.first;
    return same ? a.second.seconds > b.second.seconds : a.first.first < b.first.first;
  });
  double busy = other_.seconds;
  std::vector<KernelLine> lines;
  for (auto& [key, step] : steps) {
    busy += step.seconds;
    if (key == Key{Phase::kDecode, StepKind::kAttention}) {
      step.cost = static_cast<double>(step.calls) * attention_cost(shape_, 1, record.older);
    }
    const std::vector<KernelLine> more = lines_of(key, step, all);
    lines.insert(lines.end(), more.begin(), more.end());
  }
  const auto add = [&](const char* name, int64_t calls, double seconds) {
    lines.push_back({.phase = bench_name(record.kind),
                     .step = name,
                     .kernel = "",
                     .calls = calls,
                     .seconds = seconds,
                     .part = seconds / all,
                     .cost = {}});
  };
  if (other_.calls > 0) add("other", other_.calls, other_.seconds);
  add("gaps", 0, std::max(all - busy, 0.0));
  forget();
  return lines;
}

}  // namespace winnow
