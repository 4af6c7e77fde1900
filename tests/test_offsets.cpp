// Offsets beyond 2^31 elements: tensors of that size in address space, of which few pages are
// touched.
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstring>
#include <vector>

#include "src/base/dtype.h"
#include "src/cpu/cpu_device.h"
#include "src/cpu/matmul.h"
#include "src/cpu/ops.h"
#include "tests/support/numbers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr int64_t kTwoTo31 = int64_t{1} << 31;

/// `n` elements of zeros that take memory only where they are written.
template <class T>
class Sparse {
 public:
  explicit Sparse(int64_t n) : bytes_(static_cast<size_t>(n) * sizeof(T)) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(data_ != MAP_FAILED);
  }
  ~Sparse() { munmap(data_, bytes_); }
  Sparse(const Sparse&) = delete;
  Sparse& operator=(const Sparse&) = delete;

  T* data() { return static_cast<T*>(data_); }

 private:
  void* data_;
  size_t bytes_;
};

}  // namespace

TEST_CASE("a matrix of more than 2^31 weights") {
  const int64_t cols = 1 << 14;
  const int64_t rows = kTwoTo31 / cols + 3;
  Sparse<BF16> weights(rows * cols);
  BF16* last = weights.data() + (rows - 1) * cols;
  for (int64_t k = 0; k < cols; ++k) last[k] = to_bf16(k % 2 == 0 ? 1.0F : 0.5F);
  const std::vector<float> x(size_t(cols), 2.0F);
  std::vector<float> y = poisoned(rows);
  cpu::matmul({weights.data(), DType::kBF16, rows, cols}, x.data(), 1, y.data());
  CHECK(y[size_t(rows - 1)] == 1.5F * float(cols));
  CHECK(y[size_t(rows - 2)] == 0.0F);
  CHECK(y[0] == 0.0F);
}

TEST_CASE("an embedding of more than 2^31 numbers") {
  const int64_t cols = 1 << 12;
  const int64_t rows = kTwoTo31 / cols + 5;
  Sparse<float> table(rows * cols);
  table.data()[(rows - 1) * cols + 7] = 42;
  const auto token = static_cast<int32_t>(rows - 1);
  std::vector<float> x = poisoned(cols);
  cpu::embed({table.data(), DType::kF32, rows, cols}, {.n = 1, .token = &token, .x = x.data()});
  CHECK(x[7] == 42);
  CHECK(x[8] == 0);
}

TEST_CASE("K/V rows beyond 2^31 numbers are written and attended to where they belong") {
  ModelConfig config;
  config.hidden_size = 8;
  config.intermediate_size = 8;
  config.n_heads = 2;
  config.n_kv_heads = 2;
  config.head_dim = 64;
  config.rms_norm_eps = 1e-5F;
  config.rope_theta = 10000;
  const auto device = make_cpu_device(config, 2);
  const std::vector<float> norm(8, 1.0F);
  const std::vector<float> qkv = random_floats(config.qkv_size() * 8, 1);
  LayerWeights w;
  w.attention_norm = norm.data();
  w.qkv = {qkv.data(), DType::kF32, config.qkv_size(), 8};

  // The same step with the second head's rows near the front, and far beyond.
  const int64_t far = kTwoTo31 / 64 + 10;
  Sparse<float> k((far + 10) * 64), v((far + 10) * 64);
  Sparse<int32_t> position(far + 10);
  Sparse<uint32_t> mask(far + 10);
  std::vector<float> out[2];
  for (const bool is_far : {false, true}) {
    const int64_t first[] = {0, is_far ? far : 20};
    const int32_t slot[] = {0, 0};
    const int32_t visible[] = {1, 1};
    const int32_t ring_rows[] = {0, 0};
    const std::vector<int32_t> places = {0, 1, 2, 3, 4, 5};
    std::vector<float> x = random_floats(6 * 8, 2);
    std::vector<float> q = poisoned(6 * 128), workspace = poisoned(6 * (8 + config.qkv_size()));
    out[is_far] = poisoned(6 * 128);
    const Batch batch{.n = 6, .token = nullptr, .position = places.data(), .x = x.data()};
    const Activations a{.q = q.data(),
                        .attention = out[is_far].data(),
                        .h = nullptr,
                        .workspace = workspace.data()};
    const KvRows kv{.k = k.data(),
                    .v = v.data(),
                    .position = position.data(),
                    .mask = mask.data(),
                    .first = first,
                    .slot = slot,
                    .visible = visible,
                    .ring_rows = ring_rows};
    device->qkv(w, batch, a, kv);
    device->attention(batch, a, kv);
  }
  CHECK(std::memcmp(out[0].data(), out[1].data(), out[0].size() * sizeof(float)) == 0);
  CHECK(std::memcmp(k.data() + 20 * 64, k.data() + far * 64, 6 * 64 * sizeof(float)) == 0);
  CHECK(position.data()[far + 5] == 5);
}
