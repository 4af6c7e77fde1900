// Which call of the program under test fails. tests/winnow_faulty is winnow itself, linked with
// wrappers around what it asks the system for: they count the calls of each kind, and one of them,
// or all from one on, fails as the environment says.
//
//   FAULT="new:17"        the 17th allocation after main() began fails, from 1 on
//   FAULT="write:3+"      the 3rd write and all after it
//   FAULT="cuda:9+=700"   with this code: an errno, or a cudaError_t
//   FAULT_COUNTS=FILE     one line a kind, "new 1234", written when main() returns
#pragma once

#include <cstdint>

namespace winnow::test {

enum class Call {
  kNew,     // operator new: std::bad_alloc
  kMalloc,  // malloc and the like, of what is linked in: null
  kPages,   // mmap, mprotect, posix_memalign: ENOMEM
  kOpen,    // open: EMFILE
  kRead,    // read, pread: EIO
  kEnd,     // read, pread: the file ends here
  kShort,   // read, pread, write, pwrite: one byte is moved
  kSignal,  // the same: EINTR; never twice in a row
  kWrite,   // write, pwrite: ENOSPC
  kSync,    // fsync: EIO
  kRename,  // rename: EACCES
  kCuda,    // the CUDA runtime, and the driver's functions for memory: out of memory
  kLaunch,  // kernels: an invalid configuration
};

/// Counts a call. The code that it has to fail with, or 0: it goes on.
int fault_of(Call call) noexcept;

}  // namespace winnow::test
