// From a model directory to a network in a device's memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/cli/options.h"
#include "src/device.h"
#include "src/forward.h"
#include "src/kv/plan.h"
#include "tokenizer/tokenizer.h"
#include "weights/checkpoint.h"
#include "weights/config.h"
#include "weights/loader.h"

namespace winnow {

/// A model directory that was opened and checked from end to end; no weight was read yet.
struct ModelFiles {
  std::filesystem::path dir;
  ModelConfig config;
  Checkpoint checkpoint;
  WeightPlan plan;
  std::unique_ptr<Tokenizer> tokenizer;  // none where open_network opened the directory
  std::vector<int32_t> stop_ids;         // what ends a text: by config.json, or else by tokenizer
  std::vector<std::string> notes;        // for the user
  bool random_weights = false;           // see open_shape
};

/// Everything but the tokenizer: enough for token ids in, logits out. Fails with kModel or kIo, see
/// read_config, open_checkpoint and plan_weights.
ModelFiles open_network(const std::filesystem::path& dir);

/// The same with the tokenizer. Fails also like load_tokenizer, and with kModel where the tokenizer
/// has more pieces than the embedding has rows. (Fewer is common: the last rows are padding then.)
ModelFiles open_model(const std::filesystem::path& dir);

/// A network of the shape that `config_file` describes, whose weights will be random numbers: see
/// read_shape and draw_weights.
ModelFiles open_shape(const std::filesystem::path& config_file);

/// Tells the user something, one line.
using Note = std::function<void(const std::string& line)>;

/// The device that `options` asks for, for the network of `files`. Where there is no usable GPU,
/// kAuto takes the CPU and notes why, and kCuda fails with kDevice.
std::unique_ptr<Device> make_device(const ModelFiles& files, const ComputeOptions& options,
                                    const Note& note);

/// What a run needs: the weights, the rows of a cache for `capacity` tokens, and prefills of up to
/// `prompt_tokens`.
struct RunShape {
  int64_t capacity = 0;
  int64_t prompt_tokens = 0;
  int64_t prefill_rows = 0;    // 0: the device's own number
  uint64_t extra_scratch = 0;  // bytes that a command takes from the scratch region itself
  KvSettings kv = {};          // which rows are kept,
  KvPlan kv_plan = {};         // and what that takes: see plan_kv

  int64_t kv_room() const { return kv_plan.room > 0 ? kv_plan.room : capacity; }
};
MemoryPlan plan_memory(const ModelFiles& files, const Device& device, const RunShape& shape);

/// What several runs need that read the same prompts, each into a cache of its own.  shapes [at
/// least one], alike in their prompts
MemoryPlan plan_memory_together(const ModelFiles& files, const Device& device,
                                std::span<const RunShape> shapes);

/// Fails with kMemory, naming what is needed and what is free, where the plan does not fit.
void check_memory(const MemoryPlan& plan, const Device& device, const RunShape& shape);
void check_memory_together(const MemoryPlan& plan, const Device& device, size_t n_caches);

/// A network that is ready to run.
struct Model {
  ModelConfig config;
  std::unique_ptr<Device> device;
  ModelWeights weights;
  double load_ms = 0;

  Network network() const { return {.config = config, .weights = weights, .device = *device}; }
};

/// Reserves the memory of a plan that was checked, then reads (or draws) the weights.
Model load_model(const ModelFiles& files, std::unique_ptr<Device> device, const MemoryPlan& plan,
                 const LoadProgress& progress);

/// Plans and checks the memory, too.
Model load_model(const ModelFiles& files, std::unique_ptr<Device> device, const RunShape& shape,
                 const LoadProgress& progress);

}  // namespace winnow
