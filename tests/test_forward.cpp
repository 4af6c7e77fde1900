// The forward pass against itself: however a text is cut, the numbers stay.
#include <doctest/doctest.h>

#include <cstring>
#include <stdexcept>

#include "src/base/error.h"
#include "src/forward.h"
#include "tests/support/expect_error.h"
#include "tests/support/loaded_model.h"
#include "tests/support/numbers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const TinyModel kShapes[] = {
    {},                                                                        // GQA
    {.n_heads = 4, .n_kv_heads = 4, .head_dim = 6, .seed = 2},                 // MHA
    {.n_heads = 3, .n_kv_heads = 1, .head_dim = 10, .tied = true, .seed = 3},  // MQA, tied
    {.n_layers = 1, .type = DType::kBF16, .seed = 4},
    {.n_layers = 3, .sharded = true, .type = DType::kF16, .seed = 5},
};

}  // namespace

TEST_CASE("prefill of n tokens equals n decode steps") {
  for (const TinyModel& shape : kShapes) {
    const Model model = load_tiny(shape, 64);
    const std::vector<int32_t> tokens = random_tokens(40, shape.vocab_size, 7);
    Sequence whole(model.network(), 64, 0);
    whole.prefill(tokens);
    CAPTURE(shape.seed);
    CHECK(nmse(stepwise_logits(model, tokens), last_logits(whole, model)) < 1e-10);
  }
}

TEST_CASE("prefill in pieces equals prefill at once") {
  for (const TinyModel& shape : kShapes) {
    const Model model = load_tiny(shape, 64);
    const std::vector<int32_t> tokens = random_tokens(50, shape.vocab_size, 8);
    Sequence whole(model.network(), 64, 0);
    whole.prefill(tokens);
    for (const size_t cut : {1, 6, 23, 49}) {
      CAPTURE(shape.seed);
      CAPTURE(cut);
      CHECK(nmse(pieces_logits(model, tokens, cut), last_logits(whole, model)) < 1e-10);
    }
  }
}

TEST_CASE("the number of rows that go through a layer at once does not matter") {
  const TinyModel shape;
  const Model model = load_tiny(shape, 64);
  const std::vector<int32_t> tokens = random_tokens(50, shape.vocab_size, 9);
  const std::vector<float> whole = all_logits(model, tokens);
  CHECK(whole.size() == 50 * size_t(shape.vocab_size));
  for (const int64_t rows : {1, 7, 16, 49, 50, 1000}) {
    CAPTURE(rows);
    CHECK(nmse(all_logits(model, tokens, rows), whole) < 1e-10);
  }
}

TEST_CASE("two runs are the same to the bit") {
  const TinyModel shape{.type = DType::kBF16};
  const Model model = load_tiny(shape, 64);
  const std::vector<int32_t> tokens = random_tokens(50, shape.vocab_size, 10);
  const auto run = [&] {
    Sequence sequence(model.network(), 64, 16);
    sequence.prefill(tokens);
    for (int i = 0; i < 8; ++i) {
      sequence.sample(static_cast<int32_t>(shape.vocab_size), {});
      sequence.decode();
    }
    return last_logits(sequence, model);
  };
  CHECK(same_bits(run(), run()));
}

TEST_CASE("an earlier token changes later logits, and a later one does not change earlier ones") {
  const TinyModel shape;
  const Model model = load_tiny(shape, 64);
  std::vector<int32_t> tokens = random_tokens(20, shape.vocab_size, 11);
  const std::vector<float> before = all_logits(model, tokens);
  tokens[10] = (tokens[10] + 1) % static_cast<int32_t>(shape.vocab_size);
  const std::vector<float> after = all_logits(model, tokens);
  const auto vocab = static_cast<size_t>(shape.vocab_size);
  const std::vector<float> first_before(before.begin(), before.begin() + 10 * int64_t(vocab));
  const std::vector<float> first_after(after.begin(), after.begin() + 10 * int64_t(vocab));
  CHECK(nmse(first_after, first_before) < 1e-10);
  CHECK(nmse(after, before) > 1e-4);
}

TEST_CASE("an interrupted prefill leaves the cache as it was") {
  const TinyModel shape;
  const Model model = load_tiny(shape, 64);
  const std::vector<int32_t> first = random_tokens(20, shape.vocab_size, 12);
  const std::vector<int32_t> second = random_tokens(15, shape.vocab_size, 13);
  Sequence undisturbed(model.network(), 64, 4);
  undisturbed.prefill(first);
  undisturbed.prefill(second);

  Sequence disturbed(model.network(), 64, 4);
  disturbed.prefill(first);
  for (const uint64_t stop_at : {1, 9, 29}) {
    PrefillHooks hooks;
    hooks.progress = [&](uint64_t done, uint64_t) {
      if (done >= stop_at) throw std::runtime_error("stop");
    };
    CHECK_THROWS(disturbed.prefill(second, hooks));
    CHECK(disturbed.cache().next_position() == 20);
    CHECK(disturbed.cache().head(1, 1).rows == 20);
  }
  disturbed.prefill(second);
  CHECK(same_bits(last_logits(disturbed, model), last_logits(undisturbed, model)));
}

TEST_CASE("the cache counts positions, rows and room apart") {
  const TinyModel shape;
  const Model model = load_tiny(shape, 64);
  Sequence sequence(model.network(), 12, 0);
  CHECK(sequence.cache().empty());
  CHECK(sequence.cache().rows_held() == 0);
  sequence.prefill(random_tokens(10, shape.vocab_size, 14));
  CHECK(sequence.cache().next_position() == 10);
  CHECK(sequence.cache().head(1, 1).room == 12);
  CHECK(sequence.cache().rows_held() == 10 * shape.n_layers * shape.n_kv_heads);
  const uint64_t row = 2 * uint64_t(shape.head_dim) * sizeof(float) + 8;
  CHECK(sequence.cache().bytes_held() == uint64_t(sequence.cache().rows_held()) * row);
  sequence.set_next_token(1);
  sequence.decode();
  CHECK(sequence.cache().next_position() == 11);
  expect_error(ExitCode::kPrompt, {"2 tokens", "11", "12"},
               [&] { sequence.prefill(random_tokens(2, shape.vocab_size, 15)); });
  sequence.decode();
  expect_error(ExitCode::kPrompt, {"no room"}, [&] { sequence.decode(); });
  CHECK(sequence.cache().head(0, 0).rows == 12);
}

TEST_CASE("each kept row carries its position and is seen by all heads") {
  const TinyModel shape;
  const Model model = load_tiny(shape, 64);
  Sequence sequence(model.network(), 20, 4);
  sequence.prefill(random_tokens(9, shape.vocab_size, 16));
  sequence.prefill(random_tokens(6, shape.vocab_size, 17));
  sequence.set_next_token(3);
  sequence.decode();
  for (int64_t l = 0; l < shape.n_layers; ++l) {
    const KvRows kv = sequence.cache().layer(l);
    for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
      REQUIRE(sequence.cache().head(l, h).rows == 16);
      for (int64_t r = 0; r < 16; ++r) {
        CHECK(kv.position[kv.first[h] + r] == r);
        CHECK(kv.mask[kv.first[h] + r] == 0xffffffffU);
      }
    }
  }
}

TEST_CASE("the meter of a full cache reads 1, and occupancy its closed formula") {
  const TinyModel shape{.n_layers = 3};
  const Model model = load_tiny(shape, 64);
  Sequence sequence(model.network(), 40, 4);
  const int64_t n = 17, m = 5;
  sequence.prefill(random_tokens(n, shape.vocab_size, 18));
  for (int64_t i = 0; i < m; ++i) {
    sequence.set_next_token(1);
    sequence.decode();
  }
  CHECK(sequence.meter().footprint() == doctest::Approx(1));
  CHECK(sequence.meter().peak_fraction() == doctest::Approx(1));
  // Prefill, layer l: l complete layers of n rows, and one that grows. Decode, step i: l layers
  // have one row more than the others.
  const double layers = 3, rows = n;
  double held = 0, full = 0;
  for (int64_t l = 0; l < 3; ++l) held += double(l) * rows * rows + rows * (rows + 1) / 2;
  full += layers * layers * rows * (rows + 1) / 2;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t l = 0; l < 3; ++l) held += layers * (rows + double(i)) + double(l) + 1;
    full += layers * layers * (rows + double(i) + 1);
  }
  CHECK(sequence.meter().occupancy() == doctest::Approx(held / full));
}

TEST_CASE("scratch memory is returned when a prompt is read") {
  const TinyModel shape;
  const Model model = load_tiny(shape, 64);
  Sequence sequence(model.network(), 60, 8);
  const uint64_t before = model.device->scratch_region().used();
  sequence.prefill(random_tokens(50, shape.vocab_size, 19));
  CHECK(model.device->scratch_region().used() == before);
}

TEST_CASE("a sequence gives back all of its memory") {
  const TinyModel shape;
  const Model model = load_tiny(shape, 64);
  const uint64_t before = model.device->arena().used();
  { Sequence sequence(model.network(), 60, 8); }
  CHECK(model.device->arena().used() == before);
}
