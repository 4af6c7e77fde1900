// Sequences that go through a file, and the bytes of such a file, to be changed.
#pragma once

#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "src/base/crc32c.h"
#include "src/kv/cache_file_io.h"
#include "src/saved_sequence.h"
#include "tests/support/temp_dir.h"
#include "tests/support/winnow_cases.h"

namespace winnow::test {

/// A fingerprint like any other.
constexpr ModelFingerprint kSomeModel = {.config = 0x0123456789abcdef, .weights = 42};

inline void save(const Sequence& sequence, const Model& model, const KvOptions& kv,
                 const std::vector<int32_t>& tokens, int64_t first_prompt,
                 const std::filesystem::path& path) {
  NewFile file(path);
  save_sequence(sequence, model.network(), {kSomeModel, kv, first_prompt, tokens}, file);
  file.commit();
}

/// A sequence that was loaded from a file, with room for `capacity` tokens.
inline std::unique_ptr<Sequence> load_saved(const Model& model, const std::filesystem::path& path,
                                            int64_t capacity, int64_t prefill_rows = 0) {
  const CacheFile file = CacheFile::open(path);
  const CacheContents contents = file.read_tables();
  file.check_rows(contents, {});
  auto sequence = std::make_unique<Sequence>(
      model.network(), SequenceOptions{.capacity = capacity,
                                       .prefill_rows = prefill_rows,
                                       .kv = cache_settings(contents, model.config, file.name())});
  load_sequence(file, contents, *sequence, *model.device);
  return sequence;
}

/// The bytes of a file that was saved: changed by the tests, and made whole again.
class CacheBytes {
 public:
  explicit CacheBytes(std::string bytes) : bytes_(std::move(bytes)) {
    std::memcpy(&header, bytes_.data(), sizeof(header));
    layout = cache_layout(header).value();
  }

  CacheHeader header;
  CacheLayout layout;  // of the header as it was

  /// Element i of the table that begins at `table`.
  template <class T>
  T get(uint64_t table, size_t i) const {
    T value;
    std::memcpy(&value, &bytes_[table + i * sizeof(T)], sizeof(T));
    return value;
  }
  template <class T>
  void set(uint64_t table, size_t i, T value) {
    std::memcpy(&bytes_[table + i * sizeof(T)], &value, sizeof(T));
  }

  /// With every checksum right but those of the rows, and the header as it is now.
  std::string sealed() const {
    std::string bytes = bytes_;
    CacheHeader h = header;
    const auto part = [&](uint64_t begin, uint64_t end) {
      return std::as_bytes(std::span(bytes).subspan(begin, end - begin));
    };
    std::vector<int32_t> tokens((layout.seen - layout.tokens) / sizeof(int32_t));
    std::memcpy(tokens.data(), &bytes[layout.tokens], tokens.size() * sizeof(int32_t));
    h.tokens_hash = tokens_hash(tokens);
    h.tables_crc = crc32c(part(layout.heads, layout.rows));
    h.header_crc = cache_header_crc(h);
    std::memcpy(bytes.data(), &h, sizeof(h));
    return bytes;
  }

 private:
  std::string bytes_;
};

}  // namespace winnow::test
