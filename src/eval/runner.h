// Asks a model one question with several KV caches: the prompt goes through the network once, each
// method drops rows of its own choice, and each answers for itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "src/eval/sample.h"
#include "src/forward.h"
#include "src/model.h"

namespace winnow {

/// Several sequences of one network. They are freed in the order that the scratch region wants.
class SequenceSet {
 public:
  /// One for each of `settings`, with room for `capacity` tokens.
  SequenceSet(const Model& model, std::span<const KvSettings> settings, int64_t capacity,
              int64_t prefill_rows);
  ~SequenceSet();
  SequenceSet(const SequenceSet&) = delete;
  SequenceSet& operator=(const SequenceSet&) = delete;

  /// Reads one prompt into all of them: at once, but for those that read it chunk by chunk.
  void read_together(std::span<const int32_t> tokens, const PrefillHooks& hooks);

  size_t size() const { return sequences_.size(); }
  Sequence& operator[](size_t i) { return *sequences_[i]; }

 private:
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

/// What the methods come to where they read a first prompt of `tokens` together. Methods that draw,
/// draw otherwise for every `draw`. Where one counts places in the cache all do: to the full cache
/// it makes no difference. Fails like resolve_kv.
std::vector<KvSettings> resolve_methods(std::span<const KvOptions> methods,
                                        const ModelConfig& config, DType type, int64_t tokens,
                                        uint64_t draw);

/// What a run with prompts of `first` and then `then` tokens (0: none) and `more` generated ones
/// needs: a shape for each method. Fails like resolve_kv.
std::vector<RunShape> plan_runs(const ModelFiles& files, const Device& device,
                                std::span<const KvOptions> methods, int64_t first, int64_t then,
                                int64_t more);

/// Makes `shapes` enough for the runs of `others`, too, method by method. (The longest text alone
/// does not say it all: one that is shorter than the budget grows beyond it.)
void widen(std::vector<RunShape>& shapes, const std::vector<RunShape>& others);

/// What a sequence cost so far. `result` gets rows_kept ... occupancy; rows and bytes kept are
/// those that the cache holds now.
void measure_cache(const Sequence& sequence, const Model& model, SampleResult& result);

class SampleRunner {
 public:
  /// `methods` pass check_kv.
  SampleRunner(const ModelFiles& files, const Model& model, std::span<const KvOptions> methods,
               int64_t prefill_rows)
      : files_(files), model_(model), methods_(methods), prefill_rows_(prefill_rows) {}

  /// Called with the rows of a prompt that were read, of how many; may throw to stop.
  using Progress = std::function<void(uint64_t done, uint64_t total)>;

  /// A result for each method. Methods that draw, draw otherwise for every `draw`. Fails with
  /// kInterrupted or kTerminated where a signal came.
  std::vector<SampleResult> run(const EvalSample& sample, uint64_t draw,
                                const Progress& progress) const;

 private:
  SampleResult answer(const EvalSample& sample, Sequence& sequence) const;

  const ModelFiles& files_;
  const Model& model_;
  std::span<const KvOptions> methods_;
  int64_t prefill_rows_;
};

}  // namespace winnow
