#include "src/commands/session.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "cuda/profiling.h"
#include "src/base/format_bytes.h"
#include "src/cli/interrupt.h"
#include "src/cli/progress.h"

namespace winnow {

ModelFiles noted(ModelFiles files, const Console& console) {
  for (const std::string& note : files.notes) console.note(note);
  return files;
}

int64_t context_size(const ModelConfig& config, int64_t requested, const Console& console) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // rows are counted in 32 bits
  if (requested == 0) return std::min(config.context(), kMost);
  if (requested > config.context()) {
    console.warn("-c " + std::to_string(requested) + ": the model was trained for " +
                 std::to_string(config.context()) + " tokens");
  }
  return requested;
}

namespace {

/// "memory 15.9 GiB of 138.2 GiB free on NVIDIA H200: weights 15.0 GiB, KV cache 0.5 GiB, ..."
std::string memory_line(const MemoryPlan& plan, const Device& device) {
  return "memory " + format_bytes(plan.total()) + " of " + format_bytes(device.available_bytes()) +
         " free on " + device.name() + ": weights " + format_bytes(plan.weights) + ", KV cache " +
         format_bytes(plan.kv + plan.kv_again) + ", scratch " + format_bytes(plan.scratch);
}

}  // namespace

std::unique_ptr<WatchedDevice> open_device(const ModelFiles& files, const ComputeOptions& compute,
                                           const Console& console, Observers observers) {
  auto device = make_device(files, compute, [&](const std::string& line) { console.note(line); });
  if (auto ranges = make_nvtx_ranges()) observers.push_back(std::move(ranges));
  return std::make_unique<WatchedDevice>(std::move(device), std::move(observers));
}

void plan_kv_rows(const KvOptions& options, const ModelFiles& files, const Device& device,
                  std::span<const int64_t> prompts, RunShape& shape, const Console& console,
                  const KvStart& start) {
  const int64_t first = start.position > 0 ? start.first_prompt : prompts.front();
  shape.kv = resolve_kv(options, files.config, device.compute_type(), first);
  shape.kv_plan = plan_kv(shape.kv, prompts, shape.capacity, start);
  if (!shape.kv.policy || shape.kv.budget == KvSettings::kNoBudget) return;
  const auto number = [](int64_t n) { return std::to_string(n); };
  std::string line = "budget  " + number(shape.kv.budget) + " rows a head: ";
  if (shape.kv.paging.n_read > 0) {
    line = "budget  every row is kept; a step's query heads read " +
           number(shape.kv.paging.n_read) + " pages of " + number(kPageRows) + " rows each";
  } else if (shape.kv.exceeds(first)) {
    const Shares& shares = shape.kv.shares;
    line += number(shares.sink) + " first, " + number(shares.recent) + " last";
    const int64_t lists = lists_of(shape.kv.group, files.config.group());
    if (shares.k > 0) {
      line += ", " + number(shares.k);
      line += lists == 1 ? " between" : " for each of " + number(lists) + " lists";
    }
  } else {
    line += "the prompt of " + number(first) + " fits, every row of it is kept";
  }
  console.summary(line);
}

Model load_with_progress(const ModelFiles& files, std::unique_ptr<Device> device,
                         const ModelOptions& options, const MemoryPlan& plan,
                         const Console& console) {
  Progress progress(options.progress, "loading", "B");
  const LoadProgress update = [&](uint64_t done, uint64_t total) {
    check_interrupt();
    progress.update(done, total);
  };
  console.summary(memory_line(plan, *device));
  Model model = load_model(files, std::move(device), plan, update);
  progress.erase();
  console.detail(model.device->arena().report());
  return model;
}

Model load_with_progress(const ModelFiles& files, std::unique_ptr<Device> device,
                         const ModelOptions& options, const RunShape& shape,
                         const Console& console) {
  const MemoryPlan plan = plan_memory(files, *device, shape);
  check_memory(plan, *device, shape);
  return load_with_progress(files, std::move(device), options, plan, console);
}

Model load_with_progress(const ModelFiles& files, std::unique_ptr<Device> device,
                         const ModelOptions& options, std::span<const RunShape> shapes,
                         const Console& console) {
  const MemoryPlan plan = plan_memory_together(files, *device, shapes);
  check_memory_together(plan, *device, shapes.size());
  return load_with_progress(files, std::move(device), options, plan, console);
}

}  // namespace winnow
