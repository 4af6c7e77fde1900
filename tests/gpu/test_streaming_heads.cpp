// Heads that stream, on the GPU: the same promises as on the CPU, in every type, and the kernels
// that show a head its window, against the formula.
#include <doctest/doctest.h>

#include "tests/gpu/gpu.h"
#include "tests/support/streaming_cases.h"

using namespace winnow;
using namespace winnow::test;

namespace {

Model load(const TinyModel& shape, int64_t capacity) {
  return load_tiny_on_gpu(shape, capacity);
}

/// Of logits, to the double precision truth of the rounded weights.
double tolerance_of(DType type) {
  if (type == DType::kF32) return 1e-8;
  return type == DType::kF16 ? 1e-4 : 3e-3;
}

}  // namespace

TEST_CASE("GPU: streaming heads: prompts and steps equal attention with an explicit mask") {
  NEEDS_GPU();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    CAPTURE(dtype_name(type));
    check_streaming_text(load, type, tolerance_of(type));
  }
}

TEST_CASE("GPU: streaming heads: read in chunks, they see the same") {
  NEEDS_GPU();
  check_streaming_chunks(load, DType::kF32, tolerance_of(DType::kF32));
}

TEST_CASE("GPU: streaming heads: sage rules the full heads as if they were alone") {
  NEEDS_GPU();
  check_streaming_sage(load, DType::kF32, tolerance_of(DType::kF32));
}

TEST_CASE("GPU: streaming heads: every method leaves them their rows") {
  NEEDS_GPU();
  for (const DType type : {DType::kF32, DType::kBF16}) check_streaming_methods(load, type);
}

TEST_CASE("GPU: streaming heads: where there are none, nothing changes") {
  NEEDS_GPU();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) check_all_full(load, type);
}

TEST_CASE("GPU: streaming heads: the same rows are kept and the same logits come as on the CPU") {
  NEEDS_GPU();
  const TinyModel shape = streaming_shapes(DType::kF32)[2];
  const auto tokens = random_tokens(3000, shape.vocab_size, 82);
  const auto run = [&](const Model& model) {
    const KvOptions options = with_mask({}, some_streaming(model.config, 33, 700));
    Sequence sequence = make_sequence(model, options, 2900, 3000, 1000);
    sequence.prefill(std::span(tokens).first(2900));
    for (size_t i = 2900; i < 3000; ++i) step(sequence, tokens[i]);
    check_positions(sequence, model, *options.heads.mask, true);
    return last_logits(sequence, model);
  };
  const Model cpu = load_tiny(shape, 3000);
  const Model gpu = load_tiny_on_gpu(shape, 3000);
  CHECK(nmse(run(gpu), run(cpu)) < 1e-8);
}
