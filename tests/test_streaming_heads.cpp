// Heads that stream, on the CPU, against the formula with an explicit mask in double precision.
#include <doctest/doctest.h>

#include "tests/support/streaming_cases.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr double kTolerance = 1e-10;

Model load(const TinyModel& shape, int64_t capacity) {
  return load_tiny(shape, capacity);
}

}  // namespace

TEST_CASE("streaming heads: prompts and steps equal attention with an explicit mask") {
  check_streaming_text(load, DType::kF32, kTolerance);
}

TEST_CASE("streaming heads: read in chunks, they see the same") {
  check_streaming_chunks(load, DType::kF32, kTolerance);
}

TEST_CASE("streaming heads: sage rules the full heads as if they were alone") {
  check_streaming_sage(load, DType::kF32, kTolerance);
}

TEST_CASE("streaming heads: every method leaves them their rows") {
  check_streaming_methods(load, DType::kF32);
}

TEST_CASE("streaming heads: where there are none, nothing changes") {
  check_all_full(load, DType::kF32);
}

TEST_CASE("streaming heads: the footprint is that of the paper's formula") {
  check_streaming_footprint(load, DType::kF32);
}

TEST_CASE("streaming heads: the formula's reference values") {
  HeadMask mask;
  ++mask.window;  // the paper's leaves out the query's own row
  CHECK(footprint_formula(mask, 117000, 50, 0.7) == doctest::Approx(0.9994).epsilon(5e-5));
}

TEST_CASE("streaming heads: a model in which all heads stream") {
  const TinyModel shape = streaming_shapes(DType::kF32)[0];
  const Model model = load(shape, 200);
  HeadMask mask = some_streaming(model.config);
  mask.full.assign(mask.full.size(), 0);
  for (const KvOptions& options : {KvOptions{}, kv_options("sage", 20), kv_options("laprox", 50)}) {
    Sequence sequence = make_sequence(model, with_mask(options, mask), 60, 200);
    StreamedText text(model, shape, sequence, kTolerance);
    text.read(60);
    text.write(20);
    text.read(30);
    text.write(5);
  }
}

TEST_CASE("streaming heads: without sinks, and with a window of one token") {
  const TinyModel shape = streaming_shapes(DType::kF32)[0];
  const Model model = load(shape, 200);
  for (const auto& [sink, window] : {std::pair{0, 1}, {0, 7}, {4, 1}, {150, 40}}) {
    CAPTURE(sink);
    CAPTURE(window);
    const KvOptions options = with_mask({}, some_streaming(model.config, sink, window));
    Sequence sequence = make_sequence(model, options, 2, 200);
    StreamedText text(model, shape, sequence, kTolerance);
    text.read(2);
    text.write(10);
    text.read(100);
    text.write(10);
    text.read(70);
    text.write(5);
  }
}
