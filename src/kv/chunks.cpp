#include "src/kv/chunks.h"

#include <algorithm>

namespace winnow {
namespace {

/// A chunk's budget as the method divides it. The text's own sinks are those of the first chunk
/// alone; a chunk that a patch scores has no recent rows. What is saved goes to the lists.
Shares shares_of(const KvSettings& settings, int64_t group, int64_t budget, bool first,
                 bool patched) {
  const int64_t lists = lists_of(settings.group, group);
  Shares shares = settings.policy->shares(budget, group, lists);
  if (!first) shares.sink = 0;
  if (patched) shares.recent = 0;
  const int64_t middle = budget - shares.sink - shares.recent;
  if (middle < lists) return {.sink = 0, .k = 0, .recent = budget};
  shares.k = middle / lists;
  shares.recent += middle - lists * shares.k;
  return shares;
}

}  // namespace

std::vector<PromptChunk> chunks_of(const KvSettings& settings, const ModelConfig& config,
                                   int64_t n) {
  std::vector<PromptChunk> chunks;
  int64_t spent = 0;  // of the budget
  for (int64_t first = 0; first < n; first += settings.evict_chunk) {
    PromptChunk chunk{.first = first, .n = std::min(settings.evict_chunk, n - first)};
    const int64_t end = first + chunk.n;
    chunk.last = end == n;
    if (settings.policy->drops_chunks()) {
      const int64_t until =
          chunk.last ? settings.budget : std::min(settings.budget * end / n, settings.budget - 1);
      const bool patched = settings.order == PrefillOrder::kPatched && !chunk.last;
      chunk.zones = ChunkZones{
          .shares = shares_of(settings, config.group(), until - spent, first == 0, patched),
          .patch = patched ? std::min(kPatchTokens, n) : 0};
      spent = until;
    }
    chunks.push_back(chunk);
  }
  return chunks;
}

int64_t chunk_tokens(const KvSettings& settings) {
  return settings.evict_chunk + (settings.order == PrefillOrder::kPatched ? kPatchTokens : 0);
}

}  // namespace winnow
