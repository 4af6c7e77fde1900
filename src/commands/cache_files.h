// --cache-save and --cache-load, for the commands that have them: a text that was read goes to a
// file, and a run begins with one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/cli/options.h"
#include "src/forward.h"
#include "src/kv/cache_file_io.h"
#include "src/kv/plan.h"
#include "src/model.h"

namespace winnow {

/// What is told about a file that was loaded or saved.
struct CacheFileRecord {
  std::string file;
  uint64_t bytes = 0;
  int64_t rows = 0;  // over all layers and heads
  size_t tokens = 0;
  std::string tokens_hash;  // 16 hexadecimal digits
  double ms = 0;
};

/// A cache's file that was checked from end to end, against the model too. Its rows are still on
/// the disk.
class LoadedCache {
 public:
  /// Fails with kIo and kModel like CacheFile, with kModel where the file is another model's, with
  /// kPrompt where its text is longer than `context` tokens, and with kUsage where an option that
  /// was given is not the one that it was saved with.
  LoadedCache(const CacheOptions& options, const KvOptions& kv, const ModelFiles& files,
              int64_t context);

  /// Fails with kModel unless the device's K/V rows are of the file's type.
  void check_device(const Device& device) const;

  const std::vector<int32_t>& tokens() const { return contents_.tokens; }
  const KvOptions& kv() const { return contents_.kv; }  // that it was saved with

  /// What a plan begins with. Before restore().
  KvStart start() const;

  /// Makes `sequence`, empty and with the settings of kv() for start(), what was saved. Once.
  void restore(Sequence& sequence, Device& device);

  const CacheFileRecord& record() const { return record_; }

 private:
  CacheFile file_;
  CacheContents contents_;
  CacheFileRecord record_;
};

/// The file that --cache-save names: opened at once, so that one that cannot be written is told
/// before a long prompt is read.
class CacheSaver {
 public:
  /// Fails with kIo, and with kUsage where `kv` keeps what no file has room for.
  CacheSaver(const std::filesystem::path& path, const KvSettings& kv);

  /// Saves what `sequence` holds, which has read `tokens`, with the options that it was made by.
  /// first_prompt: the tokens that they were resolved for. Once. Fails with kIo.
  CacheFileRecord save(const Sequence& sequence, const Model& model, const ModelFiles& files,
                       const KvOptions& kv, int64_t first_prompt, std::vector<int32_t> tokens);

 private:
  NewFile file_;
};

}  // namespace winnow
