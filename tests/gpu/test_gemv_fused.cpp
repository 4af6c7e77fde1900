// The fused products of a decode token against exact sums, and against the plain steps that they
// stand for: odd sizes, every plan, poisoned outputs, two runs.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cuda/gemv_fused.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/gpu/stream.h"

using namespace winnow;
using namespace winnow::test;

namespace {

const DType kHalfTypes[] = {DType::kF16, DType::kBF16};

/// More blocks than work, fewer than work, rings of all lengths.
const cuda::GemvPlan kPlans[] = {
    {2, 24, 8, 132}, {1, 24, 8, 3}, {2, 8, 8, 3},  {1, 12, 16, 132}, {2, 12, 8, 2},
    {1, 8, 16, 264}, {2, 10, 4, 5}, {1, 20, 3, 1}, {2, 16, 16, 132},
};

/// No multiples of a piece, of a piece and a lane; one lane's worth; several pieces.
const int64_t kCols[] = {8, 72, 256, 264, 1000, 2048, 4104};

constexpr float kEps = 1e-5F;

/// A matrix of random numbers, on both sides.
struct TestMatrix {
  TestMatrix(DType type, int64_t rows, int64_t cols, uint64_t seed)
      : stored(type, random_floats(rows * cols, seed)), device(stored.bytes) {
    view = {.data = device.data(), .type = type, .rows = rows, .cols = cols};
  }

  /// W x  [rows]
  std::vector<double> times(const std::vector<double>& x) const {
    std::vector<double> y(size_t(view.rows));
    for (size_t o = 0; o < y.size(); ++o) {
      const float* row = &stored.values[o * x.size()];
      for (size_t j = 0; j < x.size(); ++j) y[o] += x[j] * row[j];
    }
    return y;
  }

  Stored stored;
  DeviceBuffer device;
  Matrix view;
};

/// A row that is normed on its way in.
struct TestRow {
  explicit TestRow(int64_t cols)
      : x(random_floats(cols, 21, 10)),
        weight(random_floats(cols, 22)),
        device_x(raw_bytes(x)),
        device_weight(raw_bytes(weight)) {}

  cuda::NormedRow view() const {
    return {.x = device_x.as<float>(), .weight = device_weight.as<float>(), .eps = kEps};
  }
  std::vector<double> normed() const {
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    const double root = std::sqrt(squares / double(x.size()) + double{kEps});
    std::vector<double> y;
    for (size_t j = 0; j < x.size(); ++j) y.push_back(x[j] / root * weight[j]);
    return y;
  }
  /// y = W x by the plain steps, which round the normed x to T.  y [w.rows] fp32
  void multiply_plainly(const Matrix& w, const DeviceBuffer& y) const {
    const DeviceBuffer normed(x.size() * dtype_size(w.type));
    cuda::rmsnorm(device_x.as<float>(), device_weight.as<float>(), kEps, 1, std::ssize(x),
                  normed.data(), w.type, nullptr);
    cuda::gemv(w, normed.data(), 1, y.data(), DType::kF32, false, nullptr);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  }

  std::vector<float> x, weight;
  DeviceBuffer device_x, device_weight;
};

std::vector<double> swiglu(const std::vector<double>& gate_up) {
  const size_t size = gate_up.size() / 2;
  std::vector<double> h;
  for (size_t j = 0; j < size; ++j) {
    h.push_back(gate_up[j] / (1 + std::exp(-gate_up[j])) * gate_up[size + j]);
  }
  return h;
}

/// How far the plain steps' results are from the fused ones: they round the normed row.
double plain_tolerance(DType type) {
  return 10 * tolerance(type);
}

void check_logits(DType type, int64_t rows, int64_t cols, const cuda::GemvPlan& plan) {
  const TestMatrix w(type, rows, cols, 5);
  const TestRow row(cols);
  const DeviceBuffer logits(size_t(rows) * 4), again(size_t(rows) * 4), plain(size_t(rows) * 4);
  cuda::gemv_logits(w.view, row.view(), nullptr, logits.as<float>(), plan, nullptr);
  cuda::gemv_logits(w.view, row.view(), nullptr, again.as<float>(), plan, nullptr);
  CHECK(nmse(logits.floats(DType::kF32), w.times(row.normed())) < 1e-10);
  CHECK(logits.download() == again.download());
  row.multiply_plainly(w.view, plain);
  CHECK(nmse(logits.floats(DType::kF32), plain.floats(DType::kF32)) < plain_tolerance(type));
}

void check_gate_up(DType type, int64_t size, int64_t cols, const cuda::GemvPlan& plan) {
  const TestMatrix w(type, 2 * size, cols, 6);
  const TestRow row(cols);
  const size_t bytes = size_t(size) * dtype_size(type);
  const DeviceBuffer h(bytes), again(bytes), wide(size_t(size) * 8), plain(bytes);
  cuda::gemv_gate_up(w.view, row.view(), h.data(), plan, nullptr);
  cuda::gemv_gate_up(w.view, row.view(), again.data(), plan, nullptr);
  CHECK(nmse(h.floats(type), swiglu(w.times(row.normed()))) < tolerance(type));
  CHECK(h.download() == again.download());
  if (size < 64) return;  // one result near 0 decides how far a few of them are apart
  row.multiply_plainly(w.view, wide);
  cuda::swiglu(wide.data(), DType::kF32, 1, size, plain.data(), type, nullptr);
  CHECK(nmse(h.floats(type), plain.floats(type)) < plain_tolerance(type));
}

void check_output(DType type, int64_t rows, int64_t cols, const cuda::GemvPlan& plan) {
  const TestMatrix w(type, rows, cols, 7);
  const Stored in(type, random_floats(cols, 8));
  const std::vector<float> before = random_floats(rows, 9, 5);
  const DeviceBuffer device_in(in.bytes);
  const DeviceBuffer x(raw_bytes(before)), again(raw_bytes(before)), plain(raw_bytes(before));
  cuda::gemv_output(w.view, device_in.data(), x.as<float>(), plan, nullptr);
  cuda::gemv_output(w.view, device_in.data(), again.as<float>(), plan, nullptr);
  std::vector<double> expected = w.times({in.values.begin(), in.values.end()});
  for (size_t o = 0; o < before.size(); ++o) expected[o] += before[o];
  CHECK(nmse(x.floats(DType::kF32), expected) < 1e-10);
  CHECK(x.download() == again.download());
  cuda::gemv(w.view, device_in.data(), 1, plain.data(), DType::kF32, true, nullptr);
  CHECK(nmse(x.floats(DType::kF32), plain.floats(DType::kF32)) < 1e-10);
}

/// `check` for every type, plan and width, over numbers of rows that are multiples of nothing.
template <class Check>
void for_sizes(Check check) {
  int64_t rows = 1;
  for (const DType type : kHalfTypes) {
    for (const cuda::GemvPlan& plan : kPlans) {
      for (const int64_t cols : kCols) {
        rows = (rows * 7 + 11) % 311 + 1;
        CAPTURE(std::string(dtype_name(type)));
        CAPTURE(rows);
        CAPTURE(cols);
        CAPTURE(plan.rows);
        CAPTURE(plan.depth);
        CAPTURE(plan.warps);
        CAPTURE(plan.blocks);
        check(type, rows, cols, plan);
      }
    }
  }
}

}  // namespace

TEST_CASE("GPU: fused norm and logits equal exact sums, and the plain steps") {
  NEEDS_GPU();
  for_sizes(check_logits);
  check_logits(DType::kBF16, 20'000, 64, {2, 24, 8, 132});
}

TEST_CASE("GPU: fused norm, gate, up and swiglu equal exact sums, and the plain steps") {
  NEEDS_GPU();
  for_sizes([](DType type, int64_t size, int64_t cols, cuda::GemvPlan plan) {
    plan.rows = 2;
    check_gate_up(type, size, cols, plan);
  });
}

TEST_CASE("GPU: fused projection and residual equal exact sums, and the plain step") {
  NEEDS_GPU();
  for_sizes(check_output);
  check_output(DType::kF16, 64, 14'336, {2, 20, 8, 132});
}

TEST_CASE("GPU: a row of zeros, and infinities, go through the fused norm as the formula says") {
  NEEDS_GPU();
  const TestMatrix w(DType::kBF16, 50, 264, 5);
  TestRow row(264);
  for (const float value : {0.0F, HUGE_VALF}) {
    const DeviceBuffer x(raw_bytes(std::vector<float>(264, value))), logits(50 * 4);
    cuda::NormedRow in = row.view();
    in.x = x.as<float>();
    cuda::gemv_logits(w.view, in, nullptr, logits.as<float>(), {2, 24, 8, 132}, nullptr);
    for (const float logit : logits.floats(DType::kF32)) {
      CHECK((value == 0 ? logit == 0 : std::isnan(logit)));
    }
  }
}

TEST_CASE("GPU: kernels that begin early see all that the ones before them wrote") {
  NEEDS_GPU();
  constexpr int64_t kHidden = 512, kSize = 1320;
  const DType type = DType::kBF16;
  const TestMatrix gate_up(type, 2 * kSize, kHidden, 1), down(type, kHidden, kSize, 2);
  const TestRow row(kHidden);
  const DeviceBuffer h(kSize * 2);
  const TestStream stream;
  const cuda::GemvPlan plan{.rows = 2, .depth = 24, .warps = 8, .blocks = 132};
  std::string results[2];
  for (const bool one_by_one : {true, false}) {
    const DeviceBuffer x(raw_bytes(row.x));
    cuda::NormedRow in = row.view();
    in.x = x.as<float>();
    for (int step = 0; step < 200; ++step) {
      cuda::gemv_gate_up(gate_up.view, in, h.data(), plan, stream.get());
      if (one_by_one) REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      cuda::gemv_output(down.view, h.data(), x.as<float>(), plan, stream.get());
      if (one_by_one) REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    }
    for (const float value : x.floats(DType::kF32)) REQUIRE(std::isfinite(value));
    results[one_by_one ? 0 : 1] = x.download();
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("which products the fused kernels take, and how deep their rings are") {
  const cuda::Gpu gpu{.multiprocessors = 132, .capability = 90, .shared_bytes = 228 << 10};
  const auto plan = [&](DType type, int64_t rows, int64_t cols, cuda::GemvInput input) {
    return cuda::plan_gemv({.data = nullptr, .type = type, .rows = rows, .cols = cols}, input, gpu);
  };
  const auto normed = cuda::GemvInput::kNormed, plain = cuda::GemvInput::kPlain;
  const DType type = DType::kBF16;
  CHECK(plan(type, 6144, 4096, normed) == cuda::GemvPlan{2, 24, 8, 132});
  CHECK(plan(type, 4096, 4096, plain) == cuda::GemvPlan{2, 24, 8, 132});
  CHECK(plan(type, 4096, 14'336, plain) == cuda::GemvPlan{2, 20, 8, 132});
  CHECK(plan(type, 128'256, 4096, normed) == cuda::GemvPlan{2, 24, 8, 132});
  CHECK(plan(DType::kF16, 2048, 8192, plain) == cuda::GemvPlan{2, 24, 8, 132});
  CHECK(plan(type, 512, 512, normed) == cuda::GemvPlan{1, 24, 8, 132});
  CHECK(plan(type, 16'384, 53'248, plain).has_value());  // whole multiprocessors
  CHECK_FALSE(plan(DType::kF32, 4096, 4096, normed).has_value());
  CHECK_FALSE(plan(type, 4096, 4100, plain).has_value());
  CHECK_FALSE(plan(type, 4096, 200'000, plain).has_value());
  int64_t odd = 1;
  CHECK_FALSE(cuda::plan_gemv({reinterpret_cast<std::byte*>(&odd) + 2, type, 8, 8}, plain, gpu));
}
