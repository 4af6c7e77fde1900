#include "weights/loader.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
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

/// Norms and biases are used in fp32 whatever they are stored in.
void read_row(const Checkpoint& checkpoint, const WeightPart& part, void* memory, WeightSink& sink,
              Counter& counter) {
  std::vector<float> widened;
  for (const Binding& binding : part.bindings) {
    const TensorInfo& info = binding.source->info;
    with_dtype(info.type, [&]<class T>(const T*) {
      std::vector<T> stored(info.bytes / sizeof(T));
      checkpoint.files[binding.source->file].read_at(info.offset,
                                                     std::as_writable_bytes(std::span(stored)));
      std::transform(stored.begin(), stored.end(), std::back_inserter(widened),
                     [](T value) { return to_float(value); });
    });
    counter.add(info.bytes);
  }
  sink.write(memory, widened.data(), part.bytes());
}

/// Hands out the parts of a plan in their order, with the memory that each was read into.
class PartCursor {
 public:
  PartCursor(const WeightPlan& plan, const std::vector<void*>& memory)
      : plan_(plan), memory_(memory) {}

  const float* row() { return static_cast<const float*>(memory_[next_++]); }

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
    layer.attention_norm = next.row();
    layer.qkv = next.matrix();
    if (config.qkv_bias) layer.qkv_bias = next.row();
    if (config.qk_norm) layer.q_norm = next.row();
    if (config.qk_norm) layer.k_norm = next.row();
    layer.o = next.matrix();
    if (config.o_bias) layer.o_bias = next.row();
    layer.mlp_norm = next.row();
    layer.gate_up = next.matrix();
    layer.down = next.matrix();
  }
  weights.final_norm = next.row();
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
    if (part.kind == PartKind::kMatrix) {
      read_matrix(checkpoint, part, static_cast<std::byte*>(memory.back()), sink, counter);
    } else {
      read_row(checkpoint, part, memory.back(), sink, counter);
    }
  }
  sink.finish();
  return arrange_weights(plan, config, memory);
}

}  // namespace winnow
