// A model on the CPU device, ready to run, and what the tests do with one.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "src/cpu/cpu_device.h"
#include "src/forward.h"
#include "src/model.h"
#include "tests/support/shown.h"
#include "tests/support/tiny_model.h"

namespace winnow::test {

/// Room for several sequences at a time, whatever they keep.
inline RunShape roomy_shape(int64_t capacity) {
  const int64_t rows = 4 * capacity;
  RunShape shape{.capacity = rows,
                 .prompt_tokens = rows,
                 .prefill_rows = 0,
                 .extra_scratch = uint64_t{64} << 20,
                 .kv = {},
                 .kv_plan = {.room = rows, .twice = true, .layer_rows = rows}};
  shape.kv.fill = true;
  shape.kv.policy = make_policy("laprox");  // its factors are made, too
  shape.kv.cut = CutScope::kModel;
  shape.kv.places_in_cache = true;
  return shape;
}

inline Model load_on_cpu(const std::filesystem::path& dir, int64_t capacity) {
  const ModelFiles files = open_network(dir);
  const RunShape shape = roomy_shape(capacity);
  return load_model(files, make_cpu_device(files.config, 2), shape, {});
}

inline Model load_tiny(const TinyModel& tiny, int64_t capacity) {
  const TempDir dir;
  write_tiny_model(dir.path(), tiny);
  return load_on_cpu(dir.path(), capacity);
}

/// `n` tokens spread over the vocabulary.
inline std::vector<int32_t> random_tokens(int64_t n, int64_t vocab_size, uint64_t seed) {
  TestRandom random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>((random.next() + 1) / 2 * static_cast<float>(vocab_size));
  }
  return tokens;
}

inline std::vector<float> last_logits(const Sequence& sequence, const Model& model) {
  std::vector<float> logits(static_cast<size_t>(model.config.vocab_size));
  sequence.download_logits(logits);
  return logits;
}

/// The `n` likeliest tokens after `prompt`, each read before the next.
inline std::vector<int32_t> greedy_tokens(const Model& model, std::span<const int32_t> prompt,
                                          size_t n) {
  Sequence sequence(model.network(), static_cast<int64_t>(prompt.size() + n), 0);
  sequence.prefill(prompt);
  std::vector<int32_t> tokens;
  while (tokens.size() < n) {
    tokens.push_back(sequence.sample(static_cast<int32_t>(model.config.vocab_size), {}));
    sequence.decode();
  }
  return tokens;
}

/// The last logits where the first token is read as a prompt and the others in decode steps.
inline std::vector<float> stepwise_logits(const Model& model, std::span<const int32_t> tokens) {
  Sequence sequence(model.network(), static_cast<int64_t>(tokens.size()), 0);
  sequence.prefill(tokens.first(1));
  for (const int32_t token : tokens.subspan(1)) {
    sequence.set_next_token(token);
    sequence.decode();
  }
  REQUIRE(sequence.cache().next_position() == static_cast<int64_t>(tokens.size()));
  return last_logits(sequence, model);
}

/// The last logits where the first `cut` tokens are read as one prompt and the rest as another.
inline std::vector<float> pieces_logits(const Model& model, std::span<const int32_t> tokens,
                                        size_t cut) {
  Sequence sequence(model.network(), static_cast<int64_t>(tokens.size()), 0);
  sequence.prefill(tokens.first(cut));
  sequence.prefill(tokens.subspan(cut));
  return last_logits(sequence, model);
}

/// The logits of every position of a prompt.  [n, vocab_size]
inline std::vector<float> all_logits(const Model& model, std::span<const int32_t> tokens,
                                     int64_t prefill_rows = 0) {
  Sequence sequence(model.network(), static_cast<int64_t>(tokens.size()), prefill_rows);
  const auto vocab = static_cast<size_t>(model.config.vocab_size);
  std::vector<float> logits;
  PrefillHooks hooks;
  hooks.final_rows = [&](const Batch& rows, const Activations& a) {
    const size_t before = logits.size();
    const size_t count = static_cast<size_t>(rows.n) * vocab;
    logits.resize(before + count);
    Region& scratch = model.device->scratch_region();
    const Region::Mark mark = scratch.mark();
    float* device_logits =
        scratch.allocate_array<float>("test logits", rows.n * model.config.vocab_size);
    model.device->logits(model.weights, rows, a, device_logits);
    model.device->download(&logits[before], device_logits, count * sizeof(float));
    scratch.rewind(mark);
  };
  sequence.prefill(tokens, hooks);
  return logits;
}

}  // namespace winnow::test
