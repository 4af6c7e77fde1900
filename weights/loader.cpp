#include "weights/loader.h"

#include <algorithm>
#include <cstddef>
#include <span>

namespace winnow {
namespace {

constexpr uint64_t kBlockBytes = uint64_t{8} << 20;

/// Bytes read so far, told to the caller after each block.
class Counter {
 public:
  Counter(const WeightPlan& plan, const LoadProgress& progress) : progress_(progress) {
    for (const WeightPart& part : plan.parts) {
      for (const Binding& binding : part.bindings) total_ += binding.source->info.bytes;
    }
  }

  void add(uint64_t bytes) {
    done_ += bytes;
    if (progress_) progress_(done_, total_);
  }

 private:
  const LoadProgress& progress_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

void read_matrix(const Checkpoint& checkpoint, const WeightPart& part, std::byte* memory,
                 WeightSink& sink, Counter& counter) {
  for (const Binding& binding : part.bindings) {
    const TensorInfo& info = binding.source->info;
    const File& file = checkpoint.files[binding.source->file];
    for (uint64_t at = 0; at < info.bytes; at += kBlockBytes) {
      const uint64_t n = std::min(kBlockBytes, info.bytes - at);
      sink.read(memory + binding.offset + at, file, info.offset + at, n);
      counter.add(n);
    }
  }
}

/// Norms are a row each, and are used in fp32 whatever they are stored in.
void read_norm(const Checkpoint& checkpoint, const WeightPart& part, void* memory, WeightSink& sink,
               Counter& counter) {
  const Checkpoint::Entry& source = *part.bindings.front().source;
  const File& file = checkpoint.files[source.file];
  const auto size = static_cast<size_t>(part.cols);
  std::vector<float> widened(size);
  with_dtype(part.type, [&]<class T>(const T*) {
    std::vector<T> stored(size);
    file.read_at(source.info.offset, std::as_writable_bytes(std::span(stored)));
    std::transform(stored.begin(), stored.end(), widened.begin(),
                   [](T value) { return to_float(value); });
  });
  sink.write(memory, widened.data(), part.bytes());
  counter.add(source.info.bytes);
}

/// Hands out the parts of a plan in their order, with the memory that each was read into.
class PartCursor {
 public:
  PartCursor(const WeightPlan& plan, const std::vector<void*>& memory)
      : plan_(plan), memory_(memory) {}

  const float* norm() { return static_cast<const float*>(memory_[next_++]); }

  Matrix matrix() {
    const WeightPart& part = plan_.parts[next_];
    return {memory_[next_++], part.type, part.rows, part.cols};
  }

 private:
  const WeightPlan& plan_;
  const std::vector<void*>& memory_;
  size_t next_ = 0;
};

}  // namespace

/// The order here is the order of the plan.
ModelWeights arrange_weights(const WeightPlan& plan, const ModelConfig& config,
                             const std::vector<void*>& memory) {
  PartCursor next(plan, memory);
  ModelWeights weights;
  weights.embedding = next.matrix();
  weights.layers.resize(static_cast<size_t>(config.n_layers));
  for (LayerWeights& layer : weights.layers) {
    layer.attention_norm = next.norm();
    layer.qkv = next.matrix();
    layer.o = next.matrix();
    layer.mlp_norm = next.norm();
    layer.gate_up = next.matrix();
    layer.down = next.matrix();
  }
  weights.final_norm = next.norm();
  weights.lm_head = config.tied_embeddings ? weights.embedding : next.matrix();
  return weights;
}

ModelWeights load_weights(const Checkpoint& checkpoint, const WeightPlan& plan,
                          const ModelConfig& config, WeightSink& sink,
                          const LoadProgress& progress) {
  Counter counter(plan, progress);
  std::vector<void*> memory;
  for (const WeightPart& part : plan.parts) {
    memory.push_back(sink.allocate(part.name, part.bytes()));
    if (part.norm) {
      read_norm(checkpoint, part, memory.back(), sink, counter);
    } else {
      read_matrix(checkpoint, part, static_cast<std::byte*>(memory.back()), sink, counter);
    }
  }
  sink.finish();
  return arrange_weights(plan, config, memory);
}

}  // namespace winnow
