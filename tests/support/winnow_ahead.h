// The promise that steps may be queued before it is known what the ones before them drew.
#pragma once

#include "src/token_queue.h"
#include "tests/support/winnow_cases.h"

namespace winnow::test {

struct AheadRun {
  std::vector<int32_t> tokens;  // with the stop token, of both texts
  State first, second;          // after each text
};

/// Writes up to `n` tokens, until one is in `stop_ids`.
inline std::vector<int32_t> write_ahead(Sequence& sequence, const TinyModel& shape,
                                        const SamplerOptions& sampler,
                                        const std::vector<int32_t>& stop_ids, int64_t n,
                                        int64_t ahead) {
  std::vector<int32_t> tokens;
  TokenQueue queue(sequence, int32_t(shape.vocab_size), sampler, stop_ids, ahead);
  while (std::ssize(tokens) < n) {
    tokens.push_back(queue.next(n));
    if (std::ranges::count(stop_ids, tokens.back()) > 0) break;
  }
  CHECK(queue.drained());
  CHECK(queue.steps() == std::ssize(tokens) - 1);
  return tokens;
}

/// A prompt, a text, a second prompt, a text of another sampler.
inline AheadRun run_ahead(const Model& model, const TinyModel& shape, const KvOptions& options,
                          const std::vector<int32_t>& stop_ids, int64_t ahead) {
  AheadRun run;
  Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
  sequence.prefill(prompt_of(shape, kPrompt, 7));
  run.tokens = write_ahead(sequence, shape, {.temperature = 2, .seed = 5}, stop_ids, 30, ahead);
  run.first = state_of(sequence, model);
  sequence.prefill(prompt_of(shape, 9, 8));
  const SamplerOptions greedy{.repeat_penalty = 1.5F};
  const std::vector<int32_t> more = write_ahead(sequence, shape, greedy, {}, 12, ahead);
  run.tokens.insert(run.tokens.end(), more.begin(), more.end());
  run.second = state_of(sequence, model);
  return run;
}

inline std::vector<KvOptions> ahead_options() {
  std::vector<KvOptions> all = {{}};
  for (const char* policy : {"sage", "streaming"}) {
    all.push_back(kv_options(policy, 20));
    all.push_back(kv_options(policy, 20));
    all.back().places_in_cache = true;
    all.push_back(kv_options(policy, 20));
    all.back().recompact = 6;
  }
  return all;
}

inline void check_queued_ahead(const Loader& load, DType type) {
  const TinyModel shape = winnow_shapes(type)[0];
  const Model model = load(shape, kCapacity);
  for (const KvOptions& options : ahead_options()) {
    CAPTURE(options.policy);
    CAPTURE(options.recompact);
    const AheadRun whole = run_ahead(model, shape, options, {}, 0);
    REQUIRE(whole.tokens.size() == 42);
    const std::vector<int32_t> stop_ids = {-1, whole.tokens[11]};
    for (const std::vector<int32_t>& stops : {std::vector<int32_t>(), stop_ids}) {
      const AheadRun waiting = run_ahead(model, shape, options, stops, 0);
      for (const int64_t ahead : {1, 2, 7}) {
        const AheadRun queued = run_ahead(model, shape, options, stops, ahead);
        CHECK(queued.tokens == waiting.tokens);
        check_same(queued.first, waiting.first);
        check_same(queued.second, waiting.second);
      }
    }
  }
}

}  // namespace winnow::test
