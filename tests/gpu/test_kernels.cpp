// The small kernels against the CPU's operations or the formula, over sizes that are no multiples
// of anything, with every output poisoned.
#include <doctest/doctest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "cuda/kernels.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/draw_buffers.h"
#include "tests/gpu/gpu.h"

using namespace winnow;
using namespace winnow::test;

namespace {

const DType kWideTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

/// What a kernel may read where it is told T: T itself, or fp32.
bool wide_enough(DType wide, DType type) {
  return wide == type || wide == DType::kF32;
}

}  // namespace

TEST_CASE("GPU: embed looks rows up, for every type and odd sizes") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const int64_t size : {1, 7, 64, 1000}) {
      CAPTURE(size);
      const Stored table(type, random_floats(11 * size, 1));
      const std::vector<int32_t> tokens = {3, 0, 10, 3, 7};
      const DeviceBuffer device_table(table.bytes);
      const DeviceBuffer token(raw_bytes(tokens));
      const DeviceBuffer x(5 * size_t(size) * 4);
      cuda::embed({device_table.data(), type, 11, size},
                  {.n = 5, .token = token.as<int32_t>(), .x = x.as<float>()}, nullptr);
      std::vector<float> expected;
      for (const int32_t t : tokens) {
        expected.insert(expected.end(), table.values.begin() + t * size,
                        table.values.begin() + (t + 1) * size);
      }
      CHECK(x.floats(DType::kF32) == expected);
    }
  }
}

TEST_CASE("GPU: rmsnorm equals the formula") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const int64_t size : {1, 3, 64, 1000, 4097}) {
      for (const int64_t n : {1, 3, 70}) {
        CAPTURE(std::string(dtype_name(type)));
        CAPTURE(size);
        CAPTURE(n);
        const std::vector<float> x = random_floats(n * size, 2, 10);
        const std::vector<float> weight = random_floats(size, 3);
        std::vector<double> expected;
        for (int64_t i = 0; i < n; ++i) {
          double sum = 0;
          for (int64_t j = 0; j < size; ++j) sum += std::pow(double{x[size_t(i * size + j)]}, 2);
          const double root = std::sqrt(sum / double(size) + 1e-5);
          for (int64_t j = 0; j < size; ++j) {
            expected.push_back(x[size_t(i * size + j)] / root * weight[size_t(j)]);
          }
        }
        const DeviceBuffer device_x(raw_bytes(x)), device_weight(raw_bytes(weight));
        const DeviceBuffer y(size_t(n * size) * dtype_size(type));
        cuda::rmsnorm(device_x.as<float>(), device_weight.as<float>(), 1e-5F, n, size, y.data(),
                      type, nullptr);
        CHECK(nmse(y.floats(type), expected) < tolerance(type));
      }
    }
  }
}

TEST_CASE("GPU: swiglu equals the formula, also where e^-z is beyond all bounds") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const DType wide : kWideTypes) {
      if (!wide_enough(wide, type)) continue;
      for (const int64_t size : {1, 7, 8, 24, 513, 1000, 4096}) {
        for (const int64_t n : {1, 5}) {
          CAPTURE(std::string(dtype_name(type)));
          CAPTURE(std::string(dtype_name(wide)));
          CAPTURE(size);
          std::vector<float> exact = random_floats(n * 2 * size, 4, 8);
          exact[0] = size % 2 == 0 ? -200.0F : 200.0F;
          const Stored in(wide, exact);
          std::vector<double> expected;
          for (int64_t i = 0; i < n; ++i) {
            for (int64_t j = 0; j < size; ++j) {
              const double gate = in.values[size_t(i * 2 * size + j)];
              const double up = in.values[size_t(i * 2 * size + size + j)];
              expected.push_back(gate / (1 + std::exp(-gate)) * up);
            }
          }
          const DeviceBuffer device_in(in.bytes);
          const DeviceBuffer h(size_t(n * size) * dtype_size(type));
          cuda::swiglu(device_in.data(), wide, n, size, h.data(), type, nullptr);
          CHECK(nmse(h.floats(type), expected) < tolerance(type));
        }
      }
    }
  }
}

TEST_CASE("GPU: advance appends a row to every head, or goes round its ring, and no further") {
  NEEDS_GPU();
  for (const int64_t n_counts : {1, 31, 256, 257, 1000}) {
    CAPTURE(n_counts);
    std::vector<int32_t> slots, visibles, rings;
    for (int64_t i = 0; i <= n_counts; ++i) {  // the last one is behind the end
      const auto ring = int32_t(i % 5);        // of one row up to four; 0: none
      rings.push_back(ring);
      visibles.push_back(9 + int32_t(i % 3));
      slots.push_back(visibles.back() - (ring == 0 ? 1 : 1 + int32_t(i) % ring));
    }
    const DeviceBuffer slot(raw_bytes(slots)), visible(raw_bytes(visibles));
    const DeviceBuffer ring_rows(raw_bytes(rings));
    const DeviceBuffer position(raw_bytes(std::vector<int32_t>{70}));
    const DrawBuffers draws;
    StepState state;
    state.position = position.as<int32_t>();
    state.slot = slot.as<int32_t>();
    state.visible = visible.as<int32_t>();
    state.ring_rows = ring_rows.as<int32_t>();
    draws.put_into(state);
    state.n_counts = n_counts;
    for (int32_t step = 1; step <= 9; ++step) {
      cuda::advance(state, nullptr);
      for (size_t i = 0; i < size_t(n_counts); ++i) {
        if (rings[i] == 0) visibles[i] += 1;
        slots[i] += 1;
        if (rings[i] > 0 && slots[i] == visibles[i]) slots[i] = visibles[i] - rings[i];
      }
      CHECK(slot.values<int32_t>() == slots);
      CHECK(visible.values<int32_t>() == visibles);
      CHECK(ring_rows.values<int32_t>() == rings);
      CHECK(position.values<int32_t>() == std::vector<int32_t>{70 + step});
    }
    const DrawBuffers stopped(-1, 1);
    stopped.put_into(state);
    cuda::advance(state, nullptr);
    CHECK(slot.values<int32_t>() == slots);
    CHECK(visible.values<int32_t>() == visibles);
    CHECK(position.values<int32_t>() == std::vector<int32_t>{79});
  }
}

namespace {

struct GemvCase {
  int64_t n, rows, cols;
  bool accumulate;
};

/// `offset`: elements by which x starts later than a multiple of 16 bytes.
void check_gemv(DType type, DType y_type, const GemvCase& c, int64_t offset) {
  const Stored w(type, random_floats(c.rows * c.cols, 5));
  const Stored x(type, random_floats(c.n * c.cols + offset, 6));
  const Stored before(y_type, random_floats(c.n * c.rows, 7));
  std::vector<double> expected;
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t o = 0; o < c.rows; ++o) {
      double sum = c.accumulate ? before.values[size_t(i * c.rows + o)] : 0;
      for (int64_t k = 0; k < c.cols; ++k) {
        sum += double{x.values[size_t(offset + i * c.cols + k)]} * w.values[size_t(o * c.cols + k)];
      }
      expected.push_back(sum);
    }
  }
  const DeviceBuffer device_w(w.bytes), device_x(x.bytes);
  const DeviceBuffer y(c.accumulate ? before.bytes : std::string(before.bytes.size(), '\xff'));
  const void* x_data = device_x.as<std::byte>() + size_t(offset) * dtype_size(type);
  cuda::gemv({device_w.data(), type, c.rows, c.cols}, x_data, c.n, y.data(), y_type, c.accumulate,
             nullptr);
  CHECK(nmse(y.floats(y_type), expected) < (y_type == DType::kF32 ? 1e-10 : tolerance(y_type)));
}

}  // namespace

TEST_CASE("GPU: gemv equals exact sums, for every type, 1 to 4 rows and odd sizes") {
  NEEDS_GPU();
  const std::pair<int64_t, int64_t> sizes[] = {{1, 1},    {3, 5},      {4, 8},    {7, 33},
                                               {129, 70}, {50, 1024},  {13, 513}, {33, 1032},
                                               {5, 4104}, {2050, 264}, {16, 1536}};
  for (const DType type : kTypes) {
    for (const DType y_type : kWideTypes) {
      if (!wide_enough(y_type, type)) continue;
      for (const auto& [rows, cols] : sizes) {
        for (const int64_t n : {1, 2, 3, 4}) {
          CAPTURE(std::string(dtype_name(type)));
          CAPTURE(rows);
          CAPTURE(cols);
          CAPTURE(n);
          check_gemv(type, y_type, {n, rows, cols, false}, 0);
          check_gemv(type, y_type, {n, rows, cols, true}, 0);
        }
      }
      check_gemv(type, y_type, {2, 9, 256, false}, 1);  // x not on a multiple of 16 bytes
    }
  }
}
