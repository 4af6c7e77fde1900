// A prompt that is read chunk by chunk, each of which loses its rows before the next one comes
// (arXiv 2506.17121, section 3).
//
//   order kChunk     | chunk 0 | chunk 1 | chunk 2 |        the chunk's own last queries score it
//   order kPatched   | chunk 0 | patch   | chunk 1 | patch  | chunk 2 |    the prompt's last
//   queries
//
// A chunk's queries see what is left of the chunks before it. Rows that stayed are not scored
// again: each chunk has its own part of the budget, as long as it is itself, and the last chunk at
// least one row. A patch is the prompt's last kPatchTokens tokens, read in the places behind the
// chunk; its rows go with the selection. What is generated afterwards is added.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/kv/selector.h"
#include "src/kv/settings.h"
#include "weights/config.h"

namespace winnow {

constexpr int64_t kPatchTokens = 64;

struct PromptChunk {
  int64_t first = 0;  // token of the prompt
  int64_t n = 0;      // tokens, without the patch
  bool last = false;
  std::optional<ChunkZones> zones =
      {};  // none for methods that divide all rows anew at every chunk
};

/// The chunks of a prompt of `n` tokens for which settings.reads_chunks(n).
std::vector<PromptChunk> chunks_of(const KvSettings& settings, const ModelConfig& config,
                                   int64_t n);

/// The most tokens that go through the network at once.
int64_t chunk_tokens(const KvSettings& settings);

}  // namespace winnow
