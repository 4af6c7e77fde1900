// Memory that is refused: every form of operator new, malloc, and pages.
#include <stdlib.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <new>

#include "tests/faults/faults.h"

using winnow::test::Call;
using winnow::test::fault_of;

extern "C" {
void* __real_malloc(size_t bytes);
void* __real_calloc(size_t n, size_t bytes);
void* __real_realloc(void* block, size_t bytes);
void* __real_mmap(void* at, size_t bytes, int access, int flags, int fd, off_t offset);
int __real_mprotect(void* at, size_t bytes, int access);
int __real_posix_memalign(void** block, size_t alignment, size_t bytes);

void* __wrap_malloc(size_t bytes) {
  return fault_of(Call::kMalloc) != 0 ? nullptr : __real_malloc(bytes);
}
void* __wrap_calloc(size_t n, size_t bytes) {
  return fault_of(Call::kMalloc) != 0 ? nullptr : __real_calloc(n, bytes);
}
void* __wrap_realloc(void* block, size_t bytes) {
  return fault_of(Call::kMalloc) != 0 ? nullptr : __real_realloc(block, bytes);
}
void* __wrap_mmap(void* at, size_t bytes, int access, int flags, int fd, off_t offset) {
  if ((errno = fault_of(Call::kPages)) != 0) return MAP_FAILED;
  return __real_mmap(at, bytes, access, flags, fd, offset);
}
int __wrap_mprotect(void* at, size_t bytes, int access) {
  // Giving pages back does not fail.
  if (access != PROT_NONE && (errno = fault_of(Call::kPages)) != 0) return -1;
  return __real_mprotect(at, bytes, access);
}
int __wrap_posix_memalign(void** block, size_t alignment, size_t bytes) {
  if (const int code = fault_of(Call::kPages); code != 0) return code;
  return __real_posix_memalign(block, alignment, bytes);
}
}

namespace {

void* allocate(size_t bytes, size_t alignment) noexcept {
  if (fault_of(Call::kNew) != 0) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return __real_malloc(std::max<size_t>(bytes, 1));
  void* block = nullptr;
  return __real_posix_memalign(&block, alignment, std::max<size_t>(bytes, 1)) == 0 ? block
                                                                                   : nullptr;
}

/// Asks once more after the handler that the program may have set, as the library's operator new
/// does.
void* allocate_or_throw(size_t bytes, size_t alignment) {
  while (true) {
    if (void* const block = allocate(bytes, alignment)) return block;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
  }
}

}  // namespace

void* operator new(size_t n) {
  return allocate_or_throw(n, 1);
}
void* operator new[](size_t n) {
  return allocate_or_throw(n, 1);
}
void* operator new(size_t n, const std::nothrow_t&) noexcept {
  return allocate(n, 1);
}
void* operator new[](size_t n, const std::nothrow_t&) noexcept {
  return allocate(n, 1);
}
void* operator new(size_t n, std::align_val_t a) {
  return allocate_or_throw(n, static_cast<size_t>(a));
}
void* operator new[](size_t n, std::align_val_t a) {
  return allocate_or_throw(n, static_cast<size_t>(a));
}
void operator delete(void* block) noexcept {
  free(block);
}
void operator delete[](void* block) noexcept {
  free(block);
}
void operator delete(void* block, size_t) noexcept {
  free(block);
}
void operator delete[](void* block, size_t) noexcept {
  free(block);
}
void operator delete(void* block, const std::nothrow_t&) noexcept {
  free(block);
}
void operator delete[](void* block, const std::nothrow_t&) noexcept {
  free(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
  free(block);
}
void operator delete[](void* block, std::align_val_t) noexcept {
  free(block);
}
void operator delete(void* block, size_t, std::align_val_t) noexcept {
  free(block);
}
void operator delete[](void* block, size_t, std::align_val_t) noexcept {
  free(block);
}
