// Files: opened once, regular, read with pread. A file that shrinks while it is read is an error
// value here, where a mapped one would be a signal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace winnow {

/// A regular file that is open for reading. Moves, does not copy.
class File {
 public:
  /// Fails with kIo where `path` does not exist, cannot be read, or is no regular file (directory,
  /// FIFO, socket, device). Never waits.
  static File open(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const { return size_; }  // bytes, when it was opened

  /// Fills `out` from byte `offset` on. Fails with kIo where the file ends before that.
  void read_at(uint64_t offset, std::span<std::byte> out) const;

 private:
  File(std::filesystem::path path, int fd, uint64_t size);

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Fails with kIo unless `dir` is a directory that can be looked at.
void require_directory(const std::filesystem::path& dir);

/// Whether `path` names anything at all: a link that leads nowhere does exist, and opening it
/// fails.
bool path_exists(const std::filesystem::path& path);

/// The whole file as bytes, for the small files of a model directory. Fails with kModel where it
/// has more than `limit` bytes.
std::string read_model_file(const std::filesystem::path& path, uint64_t limit);

/// What a file is that was mistaken for model data, told by its first bytes: a git-LFS pointer, a
/// web page, a pickle, GGUF, ... Empty where they say nothing. The text completes "PATH: ".
std::string_view sniff_wrong_format(std::string_view first_bytes);

}  // namespace winnow
