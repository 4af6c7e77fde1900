// The small operations of the CPU device against their formulas in double precision.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "src/cpu/ops.h"
#include "tests/support/numbers.h"
#include "tests/support/stored.h"

using namespace winnow;
using namespace winnow::test;

TEST_CASE("rmsnorm divides by the root of the mean square and scales") {
  for (const int64_t size : {1, 3, 64, 100}) {
    const std::vector<float> x = random_floats(3 * size, 4, 10);
    const std::vector<float> weight = random_floats(size, 5);
    std::vector<float> y = poisoned(3 * size);
    cpu::rmsnorm(x.data(), weight.data(), 1e-5F, 3, size, y.data());
    std::vector<double> expected;
    for (int64_t i = 0; i < 3; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < size; ++j) sum += std::pow(double{x[size_t(i * size + j)]}, 2);
      const double root = std::sqrt(sum / static_cast<double>(size) + 1e-5);
      for (int64_t j = 0; j < size; ++j) {
        expected.push_back(x[size_t(i * size + j)] / root * weight[size_t(j)]);
      }
    }
    CHECK(nmse(y, expected) < 1e-12);
  }
}

TEST_CASE("rope turns pairs that are half a head apart") {
  // One head of 4: pairs (0, 2) and (1, 3). Pairs of neighbours, as in Meta's own files, would give
  // other numbers.
  const std::vector<float> x = {1, 2, 3, 4};
  std::vector<float> angles = poisoned(4);
  std::vector<float> y = poisoned(4);
  cpu::rope_angles(3, rope_frequencies(100, 4), 4, angles.data());
  cpu::rope(x.data(), angles.data(), 1, 4, y.data());
  const double fast = 3, slow = 0.3;  // position * 100^(-2i/4)
  const std::vector<double> expected = {
      1 * std::cos(fast) - 3 * std::sin(fast), 2 * std::cos(slow) - 4 * std::sin(slow),
      3 * std::cos(fast) + 1 * std::sin(fast), 4 * std::cos(slow) + 2 * std::sin(slow)};
  CHECK(max_difference(y, expected) < 1e-6);
}

TEST_CASE("rope keeps lengths, and products depend on the distance alone") {
  const int64_t head_dim = 20;
  const std::vector<float> q = random_floats(head_dim, 6);
  const std::vector<float> k = random_floats(head_dim, 7);
  const auto product = [&](int32_t q_position, int32_t k_position) {
    std::vector<float> angles(head_dim), turned_q(head_dim), turned_k(head_dim);
    cpu::rope_angles(q_position, rope_frequencies(10000, head_dim), head_dim, angles.data());
    cpu::rope(q.data(), angles.data(), 1, head_dim, turned_q.data());
    cpu::rope_angles(k_position, rope_frequencies(10000, head_dim), head_dim, angles.data());
    cpu::rope(k.data(), angles.data(), 1, head_dim, turned_k.data());
    double sum = 0;
    for (int64_t d = 0; d < head_dim; ++d) sum += double{turned_q[d]} * turned_k[d];
    return sum;
  };
  CHECK(product(7, 3) == doctest::Approx(product(104, 100)).epsilon(1e-4));
  CHECK(product(7, 3) != doctest::Approx(product(7, 4)).epsilon(1e-4));
}

TEST_CASE("swiglu is silu(gate) * up") {
  for (const int64_t size : {1, 5, 24, 172}) {
    const std::vector<float> gate_up = random_floats(2 * 2 * size, 8, 20);
    std::vector<float> h = poisoned(2 * size);
    cpu::swiglu(gate_up.data(), 2, size, h.data());
    std::vector<double> expected;
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t j = 0; j < size; ++j) {
        const double gate = gate_up[size_t(i * 2 * size + j)];
        const double up = gate_up[size_t(i * 2 * size + size + j)];
        expected.push_back(gate / (1 + std::exp(-gate)) * up);
      }
    }
    CHECK(nmse(h, expected) < 1e-12);
  }
}

TEST_CASE("swiglu of an extreme gate is finite") {
  const std::vector<float> gate_up = {-1000, 1000, 1, 1};
  std::vector<float> h = poisoned(2);
  cpu::swiglu(gate_up.data(), 1, 2, h.data());
  CHECK(std::fabs(h[0]) < 1e-30);
  CHECK(h[1] == 1000);
}

TEST_CASE("embed copies the rows of the tokens") {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Stored table = store_as(type, random_floats(10 * 6, 9));
    const std::vector<int32_t> tokens = {9, 0, 9, 4};
    std::vector<float> x = poisoned(4 * 6);
    const Batch batch{.n = 4, .token = tokens.data(), .x = x.data()};
    cpu::embed({table.bytes.data(), type, 10, 6}, batch);
    for (int64_t i = 0; i < 4; ++i) {
      for (int64_t j = 0; j < 6; ++j) {
        CHECK(x[size_t(i * 6 + j)] == table.values[size_t(tokens[size_t(i)] * 6 + j)]);
      }
    }
  }
}
