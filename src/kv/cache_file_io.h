// Reading and writing the file of a cache: see cache_file.h for what stands in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "src/base/file.h"
#include "src/base/new_file.h"
#include "src/kv/cache_file.h"

namespace winnow {

/// A file that was opened and whose header is sound. Nothing of it is in memory but the header.
class CacheFile {
 public:
  /// Fails with kIo where the file cannot be read, and with kModel where it is no cache's, of
  /// another version, damaged, or cut.
  static CacheFile open(const std::filesystem::path& path);

  const File& file() const { return file_; }
  std::string name() const { return file_.path().string(); }

  /// What the header says; the tables are left empty.
  const CacheContents& outline() const { return outline_; }

  /// The outline with its tables, checked: see check_cache_tables. Fails with kModel, and with kIo
  /// where the file was cut meanwhile.
  CacheContents read_tables() const;

  /// Reads all rows and compares their checksums; `tick` is called between pieces and may throw.
  /// `contents` are this file's. Fails like read_tables.
  void check_rows(const CacheContents& contents, const std::function<void()>& tick) const;

  /// Where each head's rows begin, in bytes from the file's start: first k, then v.
  /// [n_layers * n_kv_heads + 1], the last one being the end.
  std::vector<uint64_t> row_offsets(const CacheContents& contents) const;

 private:
  CacheFile(File file, const CacheHeader& header, const CacheLayout& layout, CacheContents outline);

  File file_;
  CacheHeader header_;
  CacheLayout layout_;
  CacheContents outline_;
};

/// Copies bytes of the rows of head `head`, counted over all layers, to the host: of its keys or
/// its values, from byte `offset` on.
struct RowPiece {
  size_t head = 0;
  bool values = false;
  uint64_t offset = 0;
  std::span<std::byte> out;
};
using RowSource = std::function<void(const RowPiece& piece)>;

/// Writes `contents` and the rows that `rows` gives, a few MiB at a time; the caller commits the
/// file. Fails with kIo, or like `rows`.
void write_cache_file(NewFile& file, const CacheContents& contents, const RowSource& rows);

}  // namespace winnow
