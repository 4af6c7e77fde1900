// Device memory for the tests of single kernels: filled with NaN, its end watched.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cuda/check.h"
#include "tests/support/numbers.h"
#include "tests/support/safetensors_file.h"

namespace winnow::test {

inline constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

/// A block of device memory. All bytes are 0xFF at first, which is NaN in every type, and those
/// after its end must stay so: download() checks it.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(uint64_t bytes) : bytes_(bytes) {
    cuda::check_cuda(cudaMalloc(&data_, bytes + kGuard), "allocate");
    cuda::check_cuda(cudaMemset(data_, 0xff, bytes + kGuard), "poison");
  }
  explicit DeviceBuffer(const std::string& content) : DeviceBuffer(content.size()) {
    cuda::check_cuda(cudaMemcpy(data_, content.data(), bytes_, cudaMemcpyHostToDevice), "upload");
  }
  ~DeviceBuffer() { (void)cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

  std::string download() const {
    std::string content(bytes_ + kGuard, '\0');
    cuda::check_cuda(cudaDeviceSynchronize(), "run the kernel");
    cuda::check_cuda(cudaMemcpy(content.data(), data_, content.size(), cudaMemcpyDeviceToHost),
                     "download");
    CHECK(content.substr(bytes_) == std::string(kGuard, '\xff'));
    content.resize(bytes_);
    return content;
  }

  /// The content as numbers of `type`.
  std::vector<float> floats(DType type) const {
    const std::string content = download();
    return decode({"", type, {content.size() / dtype_size(type)}, content});
  }

  template <class T>
  std::vector<T> values() const {
    const std::string content = download();
    std::vector<T> list(content.size() / sizeof(T));
    std::memcpy(list.data(), content.data(), list.size() * sizeof(T));
    return list;
  }

 private:
  static constexpr uint64_t kGuard = 256;
  void* data_ = nullptr;
  uint64_t bytes_;
};

/// The bytes of a list of plain values.
template <class T>
std::string raw_bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// Numbers as a device holds them, and the values that are left after rounding.
struct Stored {
  Stored(DType type, const std::vector<float>& exact)
      : bytes(encode(type, exact)), values(decode({"", type, {exact.size()}, bytes})) {}
  std::string bytes;
  std::vector<float> values;
};

/// What NMSE a result of `type` may have. Rounding to the nearest alone moves an element by up to
/// 2^-11 of itself (F16) or 2^-8 (BF16): squared, 2.4e-7 or 1.5e-5; on average a seventh of that.
inline double tolerance(DType type) {
  switch (type) {
    case DType::kF32: return 1e-10;
    case DType::kF16: return 1e-6;
    case DType::kBF16: return 2e-5;
  }
  return 0;
}

}  // namespace winnow::test
