// Files that cannot be opened, end early, move a byte at a time, are interrupted, or fill the disk.
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstddef>

#include "tests/faults/faults.h"

using winnow::test::Call;
using winnow::test::fault_of;

namespace {

/// What happens to a read or a write of `bytes` before the system hears of it: -1 and errno, or how
/// many bytes it is asked for.
ssize_t allowed(size_t bytes, Call failing) {
  thread_local bool interrupted = false;
  if (!interrupted && (errno = fault_of(Call::kSignal)) != 0) {
    interrupted = true;
    return -1;
  }
  interrupted = false;
  if ((errno = fault_of(failing)) != 0) return -1;
  if (failing == Call::kRead && fault_of(Call::kEnd) != 0) return 0;
  return static_cast<ssize_t>(fault_of(Call::kShort) != 0 && bytes > 0 ? 1 : bytes);
}

}  // namespace

extern "C" {
ssize_t __real_read(int fd, void* to, size_t bytes);
ssize_t __real_pread(int fd, void* to, size_t bytes, off_t offset);
ssize_t __real_write(int fd, const void* from, size_t bytes);
ssize_t __real_pwrite(int fd, const void* from, size_t bytes, off_t offset);
int __real_open(const char* path, int flags, ...);
int __real_fsync(int fd);
int __real_rename(const char* from, const char* to);

ssize_t __wrap_read(int fd, void* to, size_t bytes) {
  const ssize_t n = allowed(bytes, Call::kRead);
  return n <= 0 ? n : __real_read(fd, to, static_cast<size_t>(n));
}
ssize_t __wrap_pread(int fd, void* to, size_t bytes, off_t offset) {
  const ssize_t n = allowed(bytes, Call::kRead);
  return n <= 0 ? n : __real_pread(fd, to, static_cast<size_t>(n), offset);
}
// What is said on stderr is heard: the message about a failure is not one itself.
ssize_t __wrap_write(int fd, const void* from, size_t bytes) {
  if (fd == STDERR_FILENO) return __real_write(fd, from, bytes);
  const ssize_t n = allowed(bytes, Call::kWrite);
  return n <= 0 ? n : __real_write(fd, from, static_cast<size_t>(n));
}
ssize_t __wrap_pwrite(int fd, const void* from, size_t bytes, off_t offset) {
  const ssize_t n = allowed(bytes, Call::kWrite);
  return n <= 0 ? n : __real_pwrite(fd, from, static_cast<size_t>(n), offset);
}
int __wrap_open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int mode = (flags & O_CREAT) != 0 ? va_arg(more, int) : 0;
  va_end(more);
  if ((errno = fault_of(Call::kOpen)) != 0) return -1;
  return __real_open(path, flags, mode);
}
int __wrap_fsync(int fd) {
  return (errno = fault_of(Call::kSync)) != 0 ? -1 : __real_fsync(fd);
}
int __wrap_rename(const char* from, const char* to) {
  return (errno = fault_of(Call::kRename)) != 0 ? -1 : __real_rename(from, to);
}
}
