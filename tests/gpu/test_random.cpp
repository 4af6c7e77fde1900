// Random weights: right in the mean and the spread, and always the same.
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cuda/random.h"
#include "src/cpu/ops.h"
#include "tests/gpu/gpu.h"
#include "tests/support/safetensors_file.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// The `n` numbers that are made, as floats; one more element is looked at, which must stay.
std::vector<float> make(DType type, uint64_t n, uint64_t seed, float scale) {
  const uint64_t bytes = n * dtype_size(type);
  void* to = nullptr;
  REQUIRE(cudaMalloc(&to, bytes + 4) == cudaSuccess);
  REQUIRE(cudaMemset(to, 0xEE, bytes + 4) == cudaSuccess);
  cuda::fill_random(to, type, n, seed, scale, nullptr);
  std::string stored(bytes + 4, '\0');
  REQUIRE(cudaMemcpy(stored.data(), to, bytes + 4, cudaMemcpyDeviceToHost) == cudaSuccess);
  cudaFree(to);
  CHECK(stored.substr(bytes) == "\xEE\xEE\xEE\xEE");
  stored.resize(bytes);
  return decode({.name = "", .type = type, .shape = {}, .bytes = stored});
}

}  // namespace

TEST_CASE("random weights have mean 0, the deviation asked for, and an end") {
  NEEDS_GPU();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    CAPTURE(std::string(dtype_name(type)));
    const std::vector<float> values = make(type, 3'000'001, 5, 0.02F);
    double sum = 0, squares = 0, most = 0;
    for (const float value : values) {
      sum += value;
      squares += double{value} * value;
      most = std::max(most, std::fabs(double{value}));
    }
    const auto n = static_cast<double>(values.size());
    CHECK(std::fabs(sum / n) < 1e-4);
    CHECK(std::sqrt(squares / n) == doctest::Approx(0.02).epsilon(0.005));
    CHECK(most <= 0.02 * std::sqrt(3.0) * 1.01);
  }
}

TEST_CASE("random weights depend on the seed and the place alone") {
  NEEDS_GPU();
  const std::vector<float> values = make(DType::kF32, 1000, 1, 1);
  const std::vector<float> more = make(DType::kF32, 100'000, 1, 1);
  CHECK(std::vector<float>(more.begin(), more.begin() + 1000) == values);
  CHECK(make(DType::kF32, 1000, 2, 1) != values);
}

TEST_CASE("random weights are the CPU's, to the bit, in every type") {
  NEEDS_GPU();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    CAPTURE(std::string(dtype_name(type)));
    std::string stored(10'000 * dtype_size(type), '\0');
    cpu::fill_random(stored.data(), type, 10'000, 3, 0.05F);
    CHECK(make(type, 10'000, 3, 0.05F) == decode({"", type, {}, stored}));
  }
}
