// The promises about h2o and quest, on the GPU.
#include <doctest/doctest.h>

#include "tests/gpu/gpu.h"
#include "tests/support/winnow_decode.h"

using namespace winnow;
using namespace winnow::test;

namespace {

Model load(const TinyModel& shape, int64_t capacity) {
  return load_tiny_on_gpu(shape, capacity);
}

}  // namespace

TEST_CASE("GPU: winnowed decode") {
  NEEDS_GPU();
  for (const DecodePromise& promise : decode_promises()) {
    SUBCASE(promise.name) {
      for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
        CAPTURE(dtype_name(type));
        if (type == DType::kF32 || !promise.fp32_alone) promise.check(load, type);
      }
    }
  }
}

TEST_CASE("GPU: choosing while decoding is the same with and without a graph") {
  NEEDS_GPU();
  for (const TinyModel& shape : decode_shapes(DType::kBF16)) {
    const Model graph = load_tiny_on_gpu(shape, kCapacity, {.graph = true, .note = {}});
    const Model plain = load_tiny_on_gpu(shape, kCapacity, {.graph = false, .note = {}});
    for (const KvOptions& options : decode_options()) {
      CAPTURE(options.policy);
      check_same(eventful_run(graph, shape, options), eventful_run(plain, shape, options));
    }
  }
}

TEST_CASE("GPU: in fp32 h2o and quest choose what the CPU chooses") {
  NEEDS_GPU();
  for (const TinyModel& shape : decode_shapes(DType::kF32)) {
    const Model gpu = load_tiny_on_gpu(shape, kCapacity);
    const Model cpu = load_tiny(shape, kCapacity);
    for (const KvOptions& options : decode_options()) {
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
