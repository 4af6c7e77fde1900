#include "src/base/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "src/base/error.h"

namespace winnow {

NewFile::NewFile(const std::filesystem::path& path) : path_(path), target_(path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status)) {
    if (!std::filesystem::is_regular_file(status)) {
      fail(ExitCode::kIo, path.string(), ": is there and is not a regular file");
    }
    target_ = std::filesystem::canonical(path, error);
    if (error) fail_io("cannot be looked at", error.value());
  }
  open();
}

/// FILE.tmp-PID-N, the first that is not there: left over by a process that was killed, or another
/// file of this one.
void NewFile::open() {
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts && fd_ < 0; ++i) {
    temporary_ = target_;
    temporary_ += ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(i);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) break;
  }
  if (fd_ < 0) fail_io("cannot write", errno);
}

NewFile::~NewFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void NewFile::fail_io(const char* what, int code) const {
  fail(ExitCode::kIo, path_.string(), ": ", what, ": ", std::generic_category().message(code));
}

void NewFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io("cannot write", errno);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void NewFile::commit() {
  WINNOW_CHECK(!temporary_.empty(), "committed before");
  if (::fsync(fd_) != 0) fail_io("cannot write", errno);
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) fail_io("cannot write", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail_io("cannot be replaced", errno);
  temporary_.clear();
  // The name is on the disk once its directory is. Where that cannot be asked for, it comes later.
  const std::filesystem::path dir = target_.has_parent_path() ? target_.parent_path() : ".";
  const int dir_fd = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir_fd < 0) return;
  (void)::fsync(dir_fd);
  ::close(dir_fd);
}

}  // namespace winnow
