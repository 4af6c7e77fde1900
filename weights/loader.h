// From the tensors of a checkpoint to the weights of the network: bound by name, checked, read.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/config.h"
#include "weights/model.h"

namespace winnow {

/// Where weights go: a device's memory.
class WeightSink {
 public:
  virtual ~WeightSink() = default;

  /// Memory for `bytes` bytes, aligned to 256, that lives as long as the device.
  virtual void* allocate(std::string_view name, uint64_t bytes) = 0;

  /// Puts `bytes` bytes of `file`, from `offset` on, at `to`. May still be under way on return.
  virtual void read(void* to, const File& file, uint64_t offset, uint64_t bytes) = 0;

  /// Puts `bytes` bytes of host memory at `to`. The source may be reused on return.
  virtual void write(void* to, const void* from, uint64_t bytes) = 0;

  /// Waits until all that was read and written is there.
  virtual void finish() = 0;
};

/// One tensor of the checkpoint and the rows of the network that it fills.
struct Binding {
  const Checkpoint::Entry* source = nullptr;
  uint64_t offset = 0;  // bytes from the start of the part's memory
};

/// Norms and biases are a row each, and are widened to fp32.
enum class PartKind { kMatrix, kNorm, kBias };

/// One allocation of the network, of one or more stacked tensors.
struct WeightPart {
  std::string name;  // e.g. "layers.3.qkv"
  PartKind kind = PartKind::kMatrix;
  DType type = DType::kF32;  // of a matrix
  int64_t rows = 0;          // outputs; 1 for a norm or a bias
  int64_t cols = 0;
  std::vector<Binding> bindings;

  uint64_t bytes() const;  // in device memory
};

/// What the network needs, in the order of a token's way, each part bound to its tensors.
struct WeightPlan {
  std::vector<WeightPart> parts;
  DType type = DType::kF32;  // of all matrices
  uint64_t bytes = 0;        // of all parts, each rounded up to 256
  std::vector<std::string> notes;
};

/// Binds every tensor by name, with type and shape checked. Fails with kModel: missing and
/// unexpected names together (the first five of each, and how many), a wrong shape (expected and
/// found), matrices of different types.
WeightPlan plan_weights(const Checkpoint& checkpoint, const ModelConfig& config);

/// The same parts bound to nothing, all matrices of `type`: for weights that come from elsewhere.
WeightPlan plan_unbound(const ModelConfig& config, DType type);

/// The network over the memory of its parts.  memory [plan.parts.size()]
ModelWeights arrange_weights(const WeightPlan& plan, const ModelConfig& config,
                             const std::vector<void*>& memory);

/// Called with the bytes done so far; may throw to stop.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

/// Reads all of `plan` into `sink` and returns where it lies. At most 8 MiB at a time.
ModelWeights load_weights(const Checkpoint& checkpoint, const WeightPlan& plan,
                          const ModelConfig& config, WeightSink& sink,
                          const LoadProgress& progress);

}  // namespace winnow
