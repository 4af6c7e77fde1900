#include "src/model.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cuda/factory.h"
#include "src/base/error.h"
#include "src/base/format_bytes.h"
#include "src/cpu/cpu_device.h"
#include "src/kv/selector.h"
#include "src/output_factor.h"
#include "src/random_model.h"

namespace winnow {

ModelFiles open_network(const std::filesystem::path& dir) {
  ModelFiles files;
  files.dir = dir;
  files.checkpoint = open_checkpoint(dir);
  files.config = read_config(dir);
  files.plan = plan_weights(files.checkpoint, files.config);
  files.stop_ids = files.config.eos;
  files.notes = files.checkpoint.notes;
  files.notes.insert(files.notes.end(), files.plan.notes.begin(), files.plan.notes.end());
  return files;
}

ModelFiles open_model(const std::filesystem::path& dir) {
  ModelFiles files = open_network(dir);
  files.tokenizer = load_tokenizer(dir);
  if (files.tokenizer->vocab_size() > files.config.vocab_size) {
    fail(ExitCode::kModel, dir.string(), ": the tokenizer has ", files.tokenizer->vocab_size(),
         " pieces, but vocab_size of config.json is ", files.config.vocab_size);
  }
  if (files.stop_ids.empty()) files.stop_ids = files.tokenizer->stop_ids();
  if (files.stop_ids.empty()) {
    files.notes.push_back("no end-of-text token is named: a text ends only with its length");
  }
  return files;
}

ModelFiles open_shape(const std::filesystem::path& config_file) {
  ShapePlan shape = read_shape(config_file);
  ModelFiles files;
  files.dir = config_file;
  files.config = std::move(shape.config);
  files.plan = std::move(shape.plan);
  files.stop_ids = files.config.eos;
  files.random_weights = true;
  return files;
}

std::unique_ptr<Device> make_device(const ModelFiles& files, const ComputeOptions& options,
                                    const Note& note) {
  if (options.device == DeviceChoice::kCpu) return make_cpu_device(files.config, options.threads);
  if (options.device == DeviceChoice::kAuto) {
    const std::string why_not = why_no_gpu();
    if (!why_not.empty()) {
      note("no GPU is used: " + why_not);
      return make_cpu_device(files.config, options.threads);
    }
  }
  return make_cuda_device(files.config, files.plan.type,
                          {.graph = options.graph, .fuse = options.fuse, .note = note});
}

namespace {

/// What the prompts of a run take of the scratch region, but for selections.
uint64_t prompt_scratch(const ModelFiles& files, const Device& device, const RunShape& shape) {
  const int64_t rows =
      shape.kv_plan.prompt_rows > 0 ? shape.kv_plan.prompt_rows : shape.prompt_tokens;
  return Sequence::scratch_bytes(files.config, device, rows, shape.prefill_rows) +
         shape.extra_scratch;
}

}  // namespace

MemoryPlan plan_memory(const ModelFiles& files, const Device& device, const RunShape& shape) {
  const DType type = device.compute_type();
  const uint64_t kv = KvStore::region_bytes(files.config, type, shape.kv_room(), shape.kv.extras());
  uint64_t scratch = prompt_scratch(files, device, shape);
  if (shape.kv_plan.layer_rows > 0) {
    scratch += KvPass::scratch_bytes(files.config, device, shape.kv, shape.kv_plan.layer_rows,
                                     shape.kv_room());
  }
  const bool factors = shape.kv.policy && shape.kv.policy->needs().o_factors;
  const uint64_t factor_bytes = factors ? output_factor_bytes(files.config) : 0;
  return {.weights = files.plan.bytes + factor_bytes,
          .o_factors = factor_bytes,
          .kv = kv,
          .kv_again = shape.kv_plan.twice ? kv : 0,
          .scratch = scratch};
}

MemoryPlan plan_memory_together(const ModelFiles& files, const Device& device,
                                std::span<const RunShape> shapes) {
  MemoryPlan all;
  uint64_t most = 0;  // of the prompt, the layer of full K/V and one selection: they are there once
  for (const RunShape& shape : shapes) {
    const MemoryPlan one = plan_memory(files, device, shape);
    all.weights = std::max(all.weights, one.weights);
    all.o_factors = std::max(all.o_factors, one.o_factors);
    all.kv += one.kv;
    all.kv_again += one.kv_again;
    // Beside them each has its step's activations and its selection.
    const int64_t rows = std::max(shape.prompt_tokens, shape.kv_plan.layer_rows);
    all.scratch += Sequence::scratch_bytes(files.config, device, 1, 1) +
                   KvPass::selection_bytes(files.config, device, shape.kv, rows, shape.kv_room());
    most = std::max(most, one.scratch);
  }
  all.scratch += most;
  return all;
}

namespace {

void check_memory(const MemoryPlan& plan, const Device& device, const std::string& caches,
                  const std::string& advice) {
  const uint64_t available = device.available_bytes();
  if (plan.total() <= available) return;
  fail(ExitCode::kMemory, "out of memory on ", device.name(), ": ", format_bytes(plan.total()),
       " needed (weights ", format_bytes(plan.weights), ", ", caches, ' ',
       format_bytes(plan.kv + plan.kv_again), ", scratch ", format_bytes(plan.scratch), "), ",
       format_bytes(available), " free; ", advice);
}

}  // namespace

void check_memory(const MemoryPlan& plan, const Device& device, const RunShape& shape) {
  check_memory(plan, device, "KV cache of " + std::to_string(shape.kv_room()) + " rows a head",
               "a smaller -c, -n or --kv-budget needs less");
}

void check_memory_together(const MemoryPlan& plan, const Device& device, size_t n_caches) {
  check_memory(plan, device, std::to_string(n_caches) + " KV caches",
               "shorter prompts, smaller budgets or fewer of them need less");
}

Model load_model(const ModelFiles& files, std::unique_ptr<Device> device, const RunShape& shape,
                 const LoadProgress& progress) {
  const MemoryPlan plan = plan_memory(files, *device, shape);
  check_memory(plan, *device, shape);
  return load_model(files, std::move(device), plan, progress);
}

Model load_model(const ModelFiles& files, std::unique_ptr<Device> device, const MemoryPlan& plan,
                 const LoadProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  Model model{.config = files.config, .device = std::move(device), .weights = {}};
  model.device->reserve(plan);
  model.weights = files.random_weights ? draw_weights(files.config, files.plan, *model.device)
                                       : load_weights(files.checkpoint, files.plan, files.config,
                                                      *model.device, progress);
  if (plan.o_factors > 0) make_output_factors(model.config, *model.device, model.weights);
  const auto stop = std::chrono::steady_clock::now();
  model.load_ms = std::chrono::duration<double, std::milli>(stop - start).count();
  return model;
}

}  // namespace winnow
