// The promises about winnowed caches, on the GPU, in every type.
#include <doctest/doctest.h>

#include "tests/gpu/gpu.h"
#include "tests/support/winnow_trust.h"

using namespace winnow;
using namespace winnow::test;

namespace {

Model load(const TinyModel& shape, int64_t capacity) {
  return load_tiny_on_gpu(shape, capacity);
}

}  // namespace

TEST_CASE("GPU: winnowed cache") {
  NEEDS_GPU();
  for (const Promise& promise : promises()) {
    SUBCASE(promise.name) {
      for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
        CAPTURE(dtype_name(type));
        promise.check(load, type);
      }
    }
  }
}

TEST_CASE("GPU: an eventful run over a winnowed cache is the same with and without a graph") {
  NEEDS_GPU();
  const TinyModel shape = winnow_shapes(DType::kBF16)[0];
  const Model graph = load_tiny_on_gpu(shape, kCapacity, {.graph = true, .note = {}});
  const Model plain = load_tiny_on_gpu(shape, kCapacity, {.graph = false, .note = {}});
  for (const KvOptions& options : eventful_options()) {
    CAPTURE(options.policy);
    check_same(eventful_run(graph, shape, options), eventful_run(plain, shape, options));
  }
}

TEST_CASE("GPU: in fp32 the same rows are kept as on the CPU") {
  NEEDS_GPU();
  for (const TinyModel& shape : winnow_shapes(DType::kF32)) {
    const Model gpu = load_tiny_on_gpu(shape, kCapacity);
    const Model cpu = load_tiny(shape, kCapacity);
    for (const KvOptions& options : eventful_options()) {
      CAPTURE(options.policy);
      const State a = eventful_run(gpu, shape, options);
      const State b = eventful_run(cpu, shape, options);
      CHECK(nmse(a.logits, b.logits) < 1e-8);
      for (size_t i = 0; i < a.kept.heads.size(); ++i) {
        CHECK(a.kept.heads[i].position == b.kept.heads[i].position);
      }
    }
  }
}

TEST_CASE("GPU: the driver's count of free memory shows the fall") {
  NEEDS_GPU();
  const auto used = [] {
    size_t free = 0, total = 0;
    REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
    return int64_t(total - free);
  };
  const TinyModel shape = winnow_shapes(DType::kF32)[3];
  check_fall_shows(load_tiny_on_gpu(shape, 30010), shape, 30000, used);
}
