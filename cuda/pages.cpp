// GPU memory through the driver's virtual memory functions: address space is reserved once, and
// blocks of memory are mapped into it.
//
//   address space  | reserved .................................................. |
//   commit(a)      [ a, all but its last page ][last]
//   commit(b)                                        [ b, all but its last page ][last]
//
// The driver unmaps only what it mapped in one piece. An arena returns all pages of an allocation
// at once, except the last, which the next allocation may share: so that one is a block of its own.
#include "cuda/pages.h"

#include <cstdint>
#include <map>

#include "cuda/check.h"
#include "cuda/driver.h"

namespace winnow::cuda {
namespace {

CUdeviceptr address(const std::byte* at) {
  return reinterpret_cast<CUdeviceptr>(at);
}

class CudaPages final : public PageSource {
 public:
  CudaPages(int device, cudaStream_t stream) : driver_(load_driver_api()), stream_(stream) {
    location_ = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device};
    memory_.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    memory_.location = location_;
    driver_.check(driver_.mem_get_allocation_granularity(&page_bytes_, &memory_,
                                                         CU_MEM_ALLOC_GRANULARITY_MINIMUM),
                  "ask for the page size");
  }

  uint64_t page_bytes() const override { return page_bytes_; }

  std::byte* reserve(uint64_t bytes) override {
    CUdeviceptr base = 0;
    driver_.check(driver_.mem_address_reserve(&base, bytes, page_bytes_, 0, 0),
                  "reserve " + std::to_string(bytes) + " bytes of address space");
    return reinterpret_cast<std::byte*>(base);
  }

  void unreserve(std::byte* base, uint64_t bytes) override {
    if (gpu_is_well()) (void)driver_.mem_address_free(address(base), bytes);
  }

  void commit(std::byte* at, uint64_t bytes, bool single) override {
    const uint64_t block = single ? page_bytes_ : bytes - page_bytes_;  // of all but the last page
    try {
      for (uint64_t done = 0; done + page_bytes_ < bytes; done += block) map(at + done, block);
      map(at + bytes - page_bytes_, page_bytes_);
      const CUmemAccessDesc access = {.location = location_,
                                      .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
      driver_.check(driver_.mem_set_access(address(at), bytes, &access, 1), "open memory");
    } catch (...) {
      decommit(at, bytes);
      throw;
    }
  }

  void decommit(std::byte* at, uint64_t bytes) override {
    if (!gpu_is_well()) return;
    auto block = blocks_.lower_bound(at);
    while (block != blocks_.end() && block->first + block->second <= at + bytes) {
      (void)driver_.mem_unmap(address(block->first), block->second);
      block = blocks_.erase(block);
    }
  }

  std::byte* allocate_apart(uint64_t bytes) override {
    void* block = nullptr;
    check_cuda(cudaMalloc(&block, bytes), "allocate " + std::to_string(bytes) + " bytes");
    return static_cast<std::byte*>(block);
  }

  void free_apart(std::byte* block, uint64_t /*bytes*/) override {
    if (gpu_is_well()) (void)cudaFree(block);
  }

  void fill(std::byte* at, uint64_t bytes, uint8_t value) override {
    check_cuda(cudaMemsetAsync(at, value, bytes, stream_), "fill memory");
  }

 private:
  /// Waits for the stream. After an error inside a kernel no call succeeds any more, and memory
  /// goes back with the process.
  bool gpu_is_well() const { return cudaStreamSynchronize(stream_) == cudaSuccess; }

  /// Puts one block of new memory at `at`. The mapping alone keeps it.
  void map(std::byte* at, uint64_t bytes) {
    CUmemGenericAllocationHandle handle = 0;
    driver_.check(driver_.mem_create(&handle, bytes, &memory_, 0),
                  "commit " + std::to_string(bytes) + " bytes");
    const CUresult mapped = driver_.mem_map(address(at), bytes, 0, handle, 0);
    (void)driver_.mem_release(handle);
    driver_.check(mapped, "map memory");
    blocks_[at] = bytes;
  }

  DriverApi driver_;
  cudaStream_t stream_;
  CUmemLocation location_{};
  CUmemAllocationProp memory_{};
  size_t page_bytes_ = 0;
  std::map<std::byte*, uint64_t> blocks_;  // what is mapped: where, and how many bytes
};

}  // namespace

std::unique_ptr<PageSource> make_cuda_pages(int device, cudaStream_t stream) {
  return std::make_unique<CudaPages>(device, stream);
}

}  // namespace winnow::cuda
