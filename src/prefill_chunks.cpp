// Sequence: a prompt that is read chunk by chunk, see src/kv/chunks.h.
//
//            chunk 0           chunk 1
//   layer 0     1   select        4   select
//   layer 1     2   select        5   select
//   layer 2     3   select        6   select
#include <vector>

#include "src/forward.h"
#include "src/kv/chunks.h"
#include "src/scratch_scope.h"

namespace winnow {

/// The chunk and, where there is one, its patch.
std::vector<int32_t> Sequence::chunk_of(const PromptChunk& chunk,
                                        std::span<const int32_t> tokens) const {
  const auto part = tokens.subspan(static_cast<size_t>(chunk.first), static_cast<size_t>(chunk.n));
  std::vector<int32_t> all(part.begin(), part.end());
  const auto patch = tokens.last(static_cast<size_t>(chunk.zones ? chunk.zones->patch : 0));
  all.insert(all.end(), patch.begin(), patch.end());
  return all;
}

void Sequence::prefill_chunks(std::span<const int32_t> tokens, const PrefillHooks& hooks) {
  const std::vector<PromptChunk> chunks =
      chunks_of(options_.kv, network_.config, std::ssize(tokens));
  const auto n_layers = static_cast<uint64_t>(network_.config.n_layers);
  uint64_t total = 0;
  for (const PromptChunk& chunk : chunks) total += n_layers * chunk_of(chunk, tokens).size();
  uint64_t before = 0;
  PrefillHooks chunk_hooks = hooks;
  if (hooks.progress) {
    chunk_hooks.progress = [&](uint64_t done, uint64_t) { hooks.progress(before + done, total); };
  }
  try {
    for (const PromptChunk& chunk : chunks) {
      const std::vector<int32_t> rows = chunk_of(chunk, tokens);
      read_chunk(chunk, rows, chunk_hooks);
      before += n_layers * rows.size();
    }
  } catch (...) {
    forget();
    throw;
  }
  mark_seen(tokens);
}

/// One chunk through all layers; its patch leaves no rows behind.
void Sequence::read_chunk(const PromptChunk& chunk, std::span<const int32_t> tokens,
                          const PrefillHooks& hooks) {
  const ScratchScope scope(scratch_);
  const int64_t growth = chunk.last ? steps_after(chunk.n) : 0;
  KvPass pass(KvPass::Kind::kWinnow,
              {network_.config, device_, options_.kv, meter_, chunk.zones, true, growth}, cache_,
              std::ssize(tokens), growth);
  KvPass* const passes[] = {&pass};
  const Batch prompt = upload_batch(tokens);
  run_prompt(prompt, passes, hooks);
  if (chunk.last) take_logits(prompt);
  close_pass(pass);
}

/// As if nothing had been read.
void Sequence::forget() {
  decode_recording_.reset();
  step_recording_.reset();
  cache_.clear();
  meter_ = KvMeter(network_.config);
  compact_ms_ = 0;
}

}  // namespace winnow
