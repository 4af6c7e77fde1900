// A sequence to a file and back: what src/kv/cache_file_io.h reads and writes, and device memory.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "src/forward.h"
#include "src/kv/cache_file_io.h"

namespace winnow {

/// How the text of a sequence came about.
struct TextOrigin {
  ModelFingerprint model;
  KvOptions kv;                 // that its settings were resolved from,
  int64_t first_prompt = 0;     // for a prompt of so many tokens
  std::vector<int32_t> tokens;  // that it has read
};

/// Writes what `sequence` holds, which has read a prompt; the caller commits the file. `tick` is
/// called between pieces and may throw. Returns what was written, but for the rows. Fails with kIo.
CacheContents save_sequence(const Sequence& sequence, const Network& network,
                            const TextOrigin& origin, NewFile& file,
                            const std::function<void()>& tick = {});

/// Makes `sequence`, empty, the one that was saved. `contents` are the file's, of this network, and
/// checked; the settings are those of cache_settings. The rows go from the file to device memory
/// without a copy of all of them in between. Fails like Sequence::restore, and with kIo.
void load_sequence(const CacheFile& file, const CacheContents& contents, Sequence& sequence,
                   Device& device, const std::function<void()>& tick = {});

}  // namespace winnow
