#include "cuda/staging.h"

#include <algorithm>
#include <exception>

#include "cuda/check.h"

namespace winnow::cuda {
namespace {

/// Fills `out` from `offset` on, in pieces side by side: one thread alone copies slower out of the
/// system's file cache than the bus can take.
void read_side_by_side(const File& file, uint64_t offset, std::span<std::byte> out) {
  constexpr size_t kPiece = size_t{1} << 20;
  const auto n_pieces = static_cast<int64_t>((out.size() + kPiece - 1) / kPiece);
  std::exception_ptr failure;
#pragma omp parallel for schedule(static) if (n_pieces > 1)
  for (int64_t i = 0; i < n_pieces; ++i) {
    const size_t at = static_cast<size_t>(i) * kPiece;
    try {
      file.read_at(offset + at, out.subspan(at, std::min(kPiece, out.size() - at)));
    } catch (...) {
#pragma omp critical(staging_failure)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

StagingBuffer::StagingBuffer(uint64_t bytes, cudaStream_t stream) : stream_(stream) {
  check_cuda(cudaEventCreateWithFlags(&sent_, cudaEventDisableTiming), "make an event");
  void* block = nullptr;
  if (cudaHostAlloc(&block, bytes, cudaHostAllocDefault) == cudaSuccess) {
    pinned_ = static_cast<std::byte*>(block);
    memory_ = {pinned_, bytes};
    return;
  }
  (void)cudaGetLastError();  // refused: ordinary memory does as well, only slower
  pageable_.resize(bytes);
  memory_ = pageable_;
}

StagingBuffer::~StagingBuffer() {
  (void)cudaEventSynchronize(sent_);
  (void)cudaEventDestroy(sent_);
  if (pinned_ != nullptr) (void)cudaFreeHost(pinned_);
}

std::span<std::byte> StagingBuffer::wait() {
  check_cuda(cudaEventSynchronize(sent_), "wait for a copy to the GPU");
  return memory_;
}

void StagingBuffer::send(void* to, uint64_t bytes) {
  check_cuda(cudaMemcpyAsync(to, memory_.data(), bytes, cudaMemcpyHostToDevice, stream_),
             "copy weights to the GPU");
  check_cuda(cudaEventRecord(sent_, stream_), "record an event");
}

Staging::Staging(cudaStream_t stream)
    : buffers_{StagingBuffer(kBufferBytes, stream), StagingBuffer(kBufferBytes, stream)} {}

void Staging::read(void* to, const File& file, uint64_t offset, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes;) {
    StagingBuffer& buffer = buffers_[next_];
    const std::span<std::byte> memory = buffer.wait();
    const uint64_t n = std::min<uint64_t>(memory.size(), bytes - at);
    read_side_by_side(file, offset + at, memory.first(n));
    buffer.send(static_cast<std::byte*>(to) + at, n);
    next_ = 1 - next_;
    at += n;
  }
}

std::string Staging::note() const {
  for (const StagingBuffer& buffer : buffers_) {
    if (!buffer.is_pinned()) return "no pinned host memory: weights are copied to the GPU slower";
  }
  return "";
}

}  // namespace winnow::cuda
