// Matrix products of the CPU device against sums in double precision.
#include <doctest/doctest.h>
#include <omp.h>

#include <cstring>

#include "src/cpu/matmul.h"
#include "tests/support/numbers.h"
#include "tests/support/stored.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// y (+)= x W^T, one product after the other.
std::vector<double> naive_matmul(const std::vector<float>& w, const std::vector<float>& x,
                                 std::vector<double> y, int64_t n, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t o = 0; o < rows; ++o) {
      for (int64_t k = 0; k < cols; ++k) {
        y[size_t(i * rows + o)] += double{x[size_t(i * cols + k)]} * w[size_t(o * cols + k)];
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("a matrix product equals the sum of products, for every type and odd shapes") {
  struct Shape {
    int64_t n, rows, cols;
  };
  const Shape shapes[] = {{1, 1, 1},   {1, 7, 5},    {2, 16, 8},   {3, 17, 33},    {4, 16, 16},
                          {5, 31, 70}, {6, 48, 512}, {7, 50, 513}, {13, 97, 1030}, {64, 33, 20},
                          {4, 24, 7},  {9, 40, 8},   {8, 8, 1537}, {1, 6, 47},     {3, 5, 16}};
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const Shape& s : shapes) {
      for (const bool accumulate : {false, true}) {
        CAPTURE(dtype_name(type));
        CAPTURE(s.n);
        CAPTURE(s.rows);
        CAPTURE(s.cols);
        const Stored w = store_as(type, random_floats(s.rows * s.cols, 1));
        const std::vector<float> x = random_floats(s.n * s.cols, 2);
        std::vector<float> y = accumulate ? random_floats(s.n * s.rows, 3) : poisoned(s.n * s.rows);
        std::vector<double> expected(y.begin(), y.end());
        if (!accumulate) expected.assign(y.size(), 0.0);
        expected = naive_matmul(w.values, x, expected, s.n, s.rows, s.cols);
        const Matrix matrix{w.bytes.data(), type, s.rows, s.cols};
        cpu::matmul(matrix, x.data(), s.n, y.data(), accumulate);
        CHECK(nmse(y, expected) < 1e-11);
      }
    }
  }
}

TEST_CASE("a product's rows do not depend on how many rows go with them") {
  const int64_t rows = 40, cols = 130;
  const std::vector<float> w = random_floats(rows * cols, 1);
  const std::vector<float> x = random_floats(20 * cols, 2);
  const Matrix matrix{w.data(), DType::kF32, rows, cols};
  std::vector<float> all = poisoned(20 * rows);
  cpu::matmul(matrix, x.data(), 20, all.data());
  std::vector<float> some = poisoned(7 * rows);
  cpu::matmul(matrix, x.data() + 5 * cols, 7, some.data());
  CHECK(std::memcmp(some.data(), all.data() + 5 * rows, some.size() * sizeof(float)) == 0);
}

TEST_CASE("a product is the same to the bit on any number of threads") {
  const int64_t rows = 330, cols = 700;
  const std::vector<float> values = random_floats(rows * cols, 1);
  const std::vector<float> x = random_floats(40 * cols, 2);
  const int threads_before = omp_get_max_threads();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Stored w = store_as(type, values);
    for (const int64_t n : {1, 2, 40}) {
      std::vector<float> first;
      for (const int threads : {1, 2, 3, 7}) {
        omp_set_num_threads(threads);
        std::vector<float> y = poisoned(n * rows);
        cpu::matmul({w.bytes.data(), type, rows, cols}, x.data(), n, y.data());
        if (first.empty()) first = y;
        CHECK(std::memcmp(y.data(), first.data(), y.size() * sizeof(float)) == 0);
      }
    }
  }
  omp_set_num_threads(threads_before);
}
