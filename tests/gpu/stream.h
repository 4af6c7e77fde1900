// A stream of a test's own: graphs are not recorded on the default stream, and kernels do not begin
// early there.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/check.h"

namespace winnow::test {

/// Work on the default stream waits for it, and it for that, so that events on the default stream
/// time what is between them.
class TestStream {
 public:
  TestStream() { cuda::check_cuda(cudaStreamCreate(&stream_), "make a stream"); }
  ~TestStream() { (void)cudaStreamDestroy(stream_); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace winnow::test
