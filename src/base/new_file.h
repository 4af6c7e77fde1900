// A file that is there whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace winnow {

/// A file under a name of its own beside `path`, which takes that name with commit() and is removed
/// without it. Until then a file that was there stays as it was; whoever reads it sees the old one
/// or the new one. Two processes that write the same file do not disturb each other: the last one
/// to commit wins.
class NewFile {
 public:
  /// A link is followed: what it leads to is replaced, not the link. Fails with kIo where the file
  /// cannot be made, or `path` is there and is no regular file.
  explicit NewFile(const std::filesystem::path& path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  /// As the caller named it.
  const std::filesystem::path& path() const { return path_; }

  /// Writes all of `bytes` from byte `offset` on. Fails with kIo.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);

  /// Waits until the bytes are on the disk, then gives them their name. Once. Fails with kIo.
  void commit();

 private:
  [[noreturn]] void fail_io(const char* what, int code) const;
  void open();

  std::filesystem::path path_;
  std::filesystem::path target_;     // path_, links followed
  std::filesystem::path temporary_;  // empty: committed
  int fd_ = -1;
};

}  // namespace winnow
