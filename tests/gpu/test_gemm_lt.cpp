// Matrix products by cuBLASLt against sums in double precision.
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cuda/gemm_lt.h"
#include "tests/gpu/gpu.h"
#include "tests/support/numbers.h"
#include "tests/support/safetensors_file.h"

using namespace winnow;
using namespace winnow::test;

namespace {

struct Case {
  int64_t n = 0;
  int64_t rows = 0;
  int64_t cols = 0;
};

/// Device memory with the values of `stored`, `shift` bytes after an aligned address.
class DeviceBytes {
 public:
  DeviceBytes(const std::string& stored, size_t shift) : bytes_(stored.size()), shift_(shift) {
    REQUIRE(cudaMalloc(&block_, bytes_ + shift) == cudaSuccess);
    REQUIRE(cudaMemcpy(data(), stored.data(), bytes_, cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~DeviceBytes() { cudaFree(block_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  void* data() const { return static_cast<std::byte*>(block_) + shift_; }
  std::string read() const {
    std::string bytes(bytes_, '\0');
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    REQUIRE(cudaMemcpy(bytes.data(), data(), bytes_, cudaMemcpyDeviceToHost) == cudaSuccess);
    return bytes;
  }

 private:
  void* block_ = nullptr;
  size_t bytes_;
  size_t shift_;
};

std::vector<float> rounded(DType type, const std::vector<float>& values) {
  return decode({.name = "", .type = type, .shape = {}, .bytes = encode(type, values)});
}

/// y = x W^T (+ y).  w [rows, cols], x [n, cols], y [n, rows]
std::vector<double> exact(const Case& c, const std::vector<float>& w, const std::vector<float>& x,
                          const std::vector<float>& y, bool accumulate) {
  std::vector<double> sums(static_cast<size_t>(c.n * c.rows));
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t r = 0; r < c.rows; ++r) {
      const auto at = static_cast<size_t>(i * c.rows + r);
      double sum = accumulate ? double{y[at]} : 0;
      for (int64_t k = 0; k < c.cols; ++k) {
        sum += double{w[static_cast<size_t>(r * c.cols + k)]} *
               double{x[static_cast<size_t>(i * c.cols + k)]};
      }
      sums[at] = sum;
    }
  }
  return sums;
}

class GemmTest {
 public:
  GemmTest() { REQUIRE(cudaMalloc(&workspace_, cuda::GemmLt::kWorkspaceBytes) == cudaSuccess); }
  ~GemmTest() { cudaFree(workspace_); }
  GemmTest(const GemmTest&) = delete;
  GemmTest& operator=(const GemmTest&) = delete;

  /// `shift`: elements by which x and y miss an aligned address.
  void check(const Case& c, DType type, DType y_type, bool accumulate, size_t shift) {
    CAPTURE(c.n);
    CAPTURE(c.rows);
    CAPTURE(c.cols);
    CAPTURE(std::string(dtype_name(type)));
    CAPTURE(std::string(dtype_name(y_type)));
    CAPTURE(accumulate);
    CAPTURE(shift);
    const std::vector<float> w = rounded(type, random_floats(c.rows * c.cols, 1));
    const std::vector<float> x = rounded(type, random_floats(c.n * c.cols, 2));
    const std::vector<float> y = rounded(y_type, random_floats(c.n * c.rows, 3));
    const DeviceBytes device_w(encode(type, w), 0);
    const DeviceBytes device_x(encode(type, x), shift * dtype_size(type));
    const std::string first = run(c, type, y_type, accumulate, shift, device_w, device_x, y);
    if (first.empty()) {
      CHECK((c.rows % 8 != 0 || c.cols % 8 != 0 || shift != 0));
      MESSAGE("no way for n ", c.n, ", rows ", c.rows, ", cols ", c.cols, ", ", dtype_name(type));
      return;
    }
    const std::vector<float> actual =
        decode({.name = "", .type = y_type, .shape = {}, .bytes = first});
    const std::vector<double> expected = exact(c, w, x, y, accumulate);
    const double tolerance = type == DType::kF32 ? 1e-12 : y_type == DType::kF32 ? 1e-10 : 1e-5;
    CHECK(nmse(std::vector<float>(actual.begin(), actual.end() - 1), expected) < tolerance);
    CHECK(actual.back() == 123);  // nothing is written behind y
    CHECK(run(c, type, y_type, accumulate, shift, device_w, device_x, y) == first);
  }

 private:
  /// The bytes of y and one number behind it, or none where the library refuses.
  std::string run(const Case& c, DType type, DType y_type, bool accumulate, size_t shift,
                  const DeviceBytes& w, const DeviceBytes& x, const std::vector<float>& y) {
    // encode() cannot round NaN: 0xFF in every byte is one in every type.
    std::string before =
        accumulate ? encode(y_type, y) : std::string(y.size() * dtype_size(y_type), '\xff');
    const DeviceBytes device_y(before + encode(y_type, {123}), shift * dtype_size(y_type));
    const bool done = gemm_.multiply({.w = {w.data(), type, c.rows, c.cols},
                                      .x = x.data(),
                                      .n = c.n,
                                      .y = device_y.data(),
                                      .y_type = y_type,
                                      .accumulate = accumulate},
                                     workspace_, nullptr);
    return done ? device_y.read() : "";
  }

  cuda::GemmLt gemm_;
  void* workspace_ = nullptr;
};

}  // namespace

TEST_CASE("cuBLASLt: products of every type and odd shape equal exact sums") {
  NEEDS_GPU();
  const Case cases[] = {{1, 1, 1},     {5, 7, 9},      {5, 8, 8},      {16, 24, 40},
                        {33, 65, 127}, {64, 128, 256}, {129, 96, 333}, {7, 1000, 48},
                        {40, 56, 40},  {9, 172, 64},   {300, 512, 96}, {6, 64, 4096}};
  GemmTest test;
  for (const Case& c : cases) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const bool accumulate : {false, true}) {
        test.check(c, type, DType::kF32, accumulate, 0);
        if (type != DType::kF32) test.check(c, type, type, accumulate, 0);
      }
    }
  }
}

TEST_CASE("cuBLASLt: rows that begin anywhere are multiplied as well") {
  NEEDS_GPU();
  GemmTest test;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const size_t shift : {1, 4, 12}) {
      test.check({20, 48, 64}, type, DType::kF32, true, shift);
      test.check({20, 48, 64}, type, type, false, shift);
    }
  }
}
