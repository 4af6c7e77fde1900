// The small kernels against the CPU's operations or the formula, over sizes that are no multiples
// of anything, with every output poisoned.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "cuda/kernels.h"
#include "src/cpu/ops.h"
#include "tests/gpu/buffers.h"
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

TEST_CASE("GPU: advance adds to the position and to every count, and to nothing else") {
  NEEDS_GPU();
  for (const int64_t n_counts : {1, 31, 256, 257, 1000}) {
    std::vector<int32_t> counts(size_t(n_counts), 5);
    counts.front() = 9;
    const DeviceBuffer rows(raw_bytes(counts));
    const DeviceBuffer position(raw_bytes(std::vector<int32_t>{70}));
    StepState state;
    state.rows = rows.as<int32_t>();
    state.position = position.as<int32_t>();
    cuda::advance(3, n_counts, state, nullptr);
    for (int32_t& count : counts) count += 3;
    CHECK(rows.values<int32_t>() == counts);
    CHECK(position.values<int32_t>() == std::vector<int32_t>{73});
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

namespace {

/// rope_and_store over heads with different numbers of rows, against cpu::rope.
struct RopeCase {
  cuda::Heads heads;
  int64_t n;
  int64_t appended;
  int32_t first_position;

  std::vector<int64_t> first;   // [n_kv_heads], with entries between heads that belong to nobody
  std::vector<int32_t> held;    // [n_kv_heads]
  std::vector<int32_t> places;  // [n]
  int64_t entries = 2;

  RopeCase(const cuda::Heads& h, int64_t rows, int64_t appended_before, int32_t position)
      : heads(h), n(rows), appended(appended_before), first_position(position) {
    for (int64_t head = 0; head < heads.n_kv_heads; ++head) {
      held.push_back(int32_t(head * 3));
      first.push_back(entries);
      entries += held.back() + appended + n + 1;
    }
    for (int64_t i = 0; i < n; ++i) places.push_back(first_position + int32_t(2 * i));
  }

  int64_t entry(int64_t h, int64_t i) const {
    return first[size_t(h)] + held[size_t(h)] + appended + i;
  }
};

/// Everything that the step leaves, NaN where it must write nothing.
struct RopeResult {
  std::vector<float> q, k, v;
  std::vector<int32_t> position, mask;
};

RopeResult rope_on_cpu(const RopeCase& c, const std::vector<float>& qkv) {
  const int64_t d = c.heads.head_dim;
  RopeResult r{.q = poisoned(c.n * c.heads.q_size()),
               .k = poisoned(c.entries * d),
               .v = poisoned(c.entries * d),
               .position = std::vector<int32_t>(size_t(c.entries), -1),
               .mask = std::vector<int32_t>(size_t(c.entries), -1)};
  std::vector<float> angles(static_cast<size_t>(d));
  for (int64_t i = 0; i < c.n; ++i) {
    cpu::rope_angles(c.places[size_t(i)], 10000, d, angles.data());
    const float* row = &qkv[size_t(i * c.heads.qkv_size())];
    cpu::rope(row, angles.data(), c.heads.n_heads, d, &r.q[size_t(i * c.heads.q_size())]);
    for (int64_t h = 0; h < c.heads.n_kv_heads; ++h) {
      const float* k = row + c.heads.q_size() + h * d;
      cpu::rope(k, angles.data(), 1, d, &r.k[size_t(c.entry(h, i) * d)]);
      std::copy_n(k + c.heads.kv_size(), d, &r.v[size_t(c.entry(h, i) * d)]);
      r.position[size_t(c.entry(h, i))] = c.places[size_t(i)];
    }
  }
  return r;
}

/// Both must be NaN at the same places; returns the NMSE of the rest.
double nmse_of_written(const std::vector<float>& actual, const std::vector<float>& expected) {
  std::vector<float> a, e;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) != std::isnan(actual[i])) return NAN;
    if (std::isnan(expected[i])) continue;
    a.push_back(actual[i]);
    e.push_back(expected[i]);
  }
  return nmse(a, e);
}

void check_rope(DType type, DType qkv_type, const RopeCase& c) {
  const Stored qkv(qkv_type, random_floats(c.n * c.heads.qkv_size(), 8, 2));
  const size_t element = dtype_size(type);
  const DeviceBuffer in(qkv.bytes), first(raw_bytes(c.first)), held(raw_bytes(c.held));
  const DeviceBuffer places(raw_bytes(c.places));
  const DeviceBuffer q(size_t(c.n * c.heads.q_size()) * element);
  const DeviceBuffer k(size_t(c.entries * c.heads.head_dim) * element);
  const DeviceBuffer v(size_t(c.entries * c.heads.head_dim) * element);
  const DeviceBuffer position(size_t(c.entries) * 4), mask(size_t(c.entries) * 4);
  const KvRows kv{.k = k.data(),
                  .v = v.data(),
                  .position = position.as<int32_t>(),
                  .mask = mask.as<uint32_t>(),
                  .first = first.as<int64_t>(),
                  .rows = held.as<int32_t>(),
                  .appended = c.appended};
  const Batch batch{.n = c.n, .token = nullptr, .position = places.as<int32_t>(), .x = nullptr};
  cuda::rope_and_store({.type = type,
                        .qkv_type = qkv_type,
                        .qkv = in.data(),
                        .q = q.data(),
                        .batch = batch,
                        .heads = c.heads,
                        .kv = kv},
                       cuda::rope_frequencies(10000, c.heads.head_dim), nullptr);
  const RopeResult expected = rope_on_cpu(c, qkv.values);
  CHECK(nmse_of_written(q.floats(type), expected.q) < tolerance(type));
  CHECK(nmse_of_written(k.floats(type), expected.k) < tolerance(type));
  CHECK(nmse_of_written(v.floats(type), expected.v) < tolerance(type));
  CHECK(position.values<int32_t>() == expected.position);
  CHECK(mask.values<int32_t>() == expected.mask);
}

}  // namespace

TEST_CASE("GPU: rope turns q and k and puts k and v into their rows, and writes nowhere else") {
  NEEDS_GPU();
  const cuda::Heads layouts[] = {{1, 1, 2}, {4, 4, 6}, {6, 2, 64}, {8, 1, 20}, {3, 3, 256}};
  for (const DType type : kTypes) {
    for (const DType qkv_type : kWideTypes) {
      if (!wide_enough(qkv_type, type)) continue;
      for (const cuda::Heads& heads : layouts) {
        CAPTURE(std::string(dtype_name(type)));
        CAPTURE(std::string(dtype_name(qkv_type)));
        CAPTURE(heads.head_dim);
        check_rope(type, qkv_type, RopeCase(heads, 1, 0, 0));
        check_rope(type, qkv_type, RopeCase(heads, 17, 5, 3));
        check_rope(type, qkv_type, RopeCase(heads, 3, 0, 1'000'000));
      }
    }
  }
}
