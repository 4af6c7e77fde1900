#include "cuda/drawn_tokens.h"

#include <atomic>
#include <new>

#include "cuda/check.h"
#include "src/base/error.h"

namespace winnow::cuda {
namespace {

Drawn* allocate_slots() {
  void* memory = nullptr;
  const size_t bytes = Device::kMaxDrawn * sizeof(Drawn);
  check_cuda(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped), "allocate memory for tokens");
  return new (memory) Drawn[Device::kMaxDrawn]{};
}

}  // namespace

DrawnTokens::DrawnTokens() : slots_(allocate_slots(), &cudaFreeHost) {}

/// Polls: a token comes every few milliseconds or less, and waking up takes long beside that.
Drawn DrawnTokens::take(cudaStream_t stream) {
  constexpr int kPolls = 1000;  // between looks at the stream, which are slow
  Drawn& slot = slots_[static_cast<size_t>(taken_ % Device::kMaxDrawn)];
  const std::atomic_ref<int32_t> number(slot.number);
  const auto arrived = [&] {
    for (int i = 0; i < kPolls; ++i) {
      if (number.load(std::memory_order_acquire) == taken_ + 1) return true;
    }
    return false;
  };
  while (!arrived()) {
    const cudaError_t status = cudaStreamQuery(stream);
    if (status == cudaErrorNotReady) continue;
    check_cuda(status, "draw a token");
    WINNOW_CHECK(arrived(), "no token was drawn");
  }
  ++taken_;
  return slot;
}

}  // namespace winnow::cuda
