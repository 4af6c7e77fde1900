// Pages of host memory. Reserved pages cannot be touched; committed pages get their memory from the
// kernel when they are first written.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "src/arena.h"
#include "src/base/checked.h"
#include "src/base/error.h"

namespace winnow {
namespace {

// The GPU's page, so that both devices account alike; also the size of a huge page.
constexpr uint64_t kPageBytes = uint64_t{2} << 20;

class HostPages final : public PageSource {
 public:
  uint64_t page_bytes() const override { return kPageBytes; }

  // mmap aligns to 4 KiB only: one page more is mapped, and what sticks out is cut off.
  std::byte* reserve(uint64_t bytes) override {
    const uint64_t mapped = checked_add(bytes, kPageBytes).value_or(UINT64_MAX);
    void* at = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
      fail(ExitCode::kMemory, "cannot reserve ", bytes,
           " bytes of address space: ", std::strerror(errno));
    }
    auto* start = static_cast<std::byte*>(at);
    const uint64_t misaligned = reinterpret_cast<uintptr_t>(start) % kPageBytes;
    const uint64_t head = (kPageBytes - misaligned) % kPageBytes;
    const uint64_t tail = kPageBytes - head;
    if (head > 0) munmap(start, head);
    munmap(start + head + bytes, tail);
    // One entry of the processor's address cache for a page, and not 512 for its pieces: a product
    // writes a line in each of hundreds of rows before it comes back to the first. Only a wish.
    madvise(start + head, bytes, MADV_HUGEPAGE);
    return start + head;
  }

  void unreserve(std::byte* base, uint64_t bytes) override { munmap(base, bytes); }

  void commit(std::byte* at, uint64_t bytes, bool /*single*/) override {
    if (mprotect(at, bytes, PROT_READ | PROT_WRITE) != 0) {
      const int cause = errno;
      decommit(at, bytes);  // it may have done a part
      fail(ExitCode::kMemory, "cannot commit ", bytes, " bytes: ", std::strerror(cause));
    }
  }

  // Without the protection a stale pointer would read zeros; with it, it faults. Where the kernel
  // refuses to split the mapping any further, the memory is returned all the same.
  void decommit(std::byte* at, uint64_t bytes) override {
    madvise(at, bytes, MADV_DONTNEED);
    mprotect(at, bytes, PROT_NONE);
  }

  std::byte* allocate_apart(uint64_t bytes) override {
    void* block = nullptr;
    if (posix_memalign(&block, Region::kAlignment, std::max(bytes, uint64_t{1})) != 0) {
      fail(ExitCode::kMemory, "cannot allocate ", bytes, " bytes");
    }
    return static_cast<std::byte*>(block);
  }

  void free_apart(std::byte* block, uint64_t /*bytes*/) override { std::free(block); }

  void fill(std::byte* at, uint64_t bytes, uint8_t value) override {
    std::memset(at, value, bytes);
  }
};

}  // namespace

std::unique_ptr<PageSource> make_host_pages() {
  return std::make_unique<HostPages>();
}

}  // namespace winnow
