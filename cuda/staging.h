// The way of a checkpoint to the GPU: from the file into pinned host memory, from there over the
// bus, both at the same time.
//
//   file  -> buffer 0 | buffer 1 | buffer 0 | ...
//   bus                 buffer 0 | buffer 1 | ...
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/base/file.h"

namespace winnow::cuda {

/// Host memory that the bus can read by itself, or ordinary memory where the system has no more of
/// that kind, with an event that says when it may be filled again.
class StagingBuffer {
 public:
  StagingBuffer(uint64_t bytes, cudaStream_t stream);
  ~StagingBuffer();
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;

  bool is_pinned() const { return pinned_ != nullptr; }

  /// The whole buffer, once its last copy is over.
  std::span<std::byte> wait();

  /// Starts to copy the first `bytes` bytes to device memory.
  void send(void* to, uint64_t bytes);

 private:
  cudaStream_t stream_;
  cudaEvent_t sent_ = nullptr;
  std::byte* pinned_ = nullptr;
  std::vector<std::byte> pageable_;
  std::span<std::byte> memory_;
};

class Staging {
 public:
  static constexpr uint64_t kBufferBytes = uint64_t{8} << 20;

  /// `stream` outlives it.
  explicit Staging(cudaStream_t stream);

  /// Copies `bytes` bytes of `file`, from `offset` on, to device memory. What was started last may
  /// still be under way on return. Fails with kIo where the file ends before, and with kDevice.
  void read(void* to, const File& file, uint64_t offset, uint64_t bytes);

  /// Where pinned memory was refused: a line about it. Else empty.
  std::string note() const;

 private:
  std::array<StagingBuffer, 2> buffers_;
  size_t next_ = 0;
};

}  // namespace winnow::cuda
