// Cuts over a layer and over the model, and prompts that are read in chunks, on the CPU.
#include <doctest/doctest.h>

#include "tests/support/expect_error.h"
#include "tests/support/winnow_cuts.h"

using namespace winnow;
using namespace winnow::test;

TEST_CASE("cuts: the heads of a layer share a budget") {
  check_cut(load_tiny, DType::kF32, CutScope::kLayer);
}

TEST_CASE("cuts: the running cut over the model is the cut over all layers at once") {
  check_cut(load_tiny, DType::kF32, CutScope::kModel);
}

TEST_CASE("methods: each keeps what its budget promises, in every order of prefill") {
  check_every_method(load_tiny, DType::kF32);
}

TEST_CASE("cuts: the cut of lists that lie end to end is split with its ties") {
  const float score = 2.5F;
  const std::vector<Cut> cuts = split_cut({score, 23}, 8, 10, 3);
  REQUIRE(cuts.size() == 3);
  CHECK(cuts[0].takes(score, 9));
  CHECK(cuts[1].takes(score, 5));
  CHECK_FALSE(cuts[1].takes(score, 6));
  CHECK_FALSE(cuts[2].takes(score, 0));
  for (const Cut& cut : cuts) CHECK(cut.takes(3.0F, 9));
  for (const Cut& cut : cuts) CHECK_FALSE(cut.takes(2.0F, 0));
}

TEST_CASE("chunks: each keeps its part of the budget") {
  check_chunks(load_tiny, DType::kF32, PrefillOrder::kChunk);
  check_chunks(load_tiny, DType::kF32, PrefillOrder::kPatched);
}

TEST_CASE("chunks: one chunk is the whole prompt") {
  check_one_chunk(load_tiny, DType::kF32);
}

TEST_CASE("chunks: budgets add up, and the last chunk keeps a row") {
  const Model model = load_tiny({}, 16);
  for (const int64_t n : {17, 64, 65, 100, 4097}) {
    for (const int64_t budget : {4, 7, 16}) {
      KvOptions options = kv_options("random", double(budget));
      options.group = Group::kMean;
      options.order = PrefillOrder::kChunk;
      options.evict_chunk = 16;
      const KvSettings kv = resolve_kv(options, model.config, DType::kF32, n);
      int64_t next = 0, rows = 0;
      for (const PromptChunk& chunk : chunks_of(kv, model.config, n)) {
        CHECK(chunk.first == next);
        next += chunk.n;
        const Shares& s = chunk.zones->shares;
        rows += s.sink + s.k + s.recent;
        CHECK(std::min({s.sink, s.k, s.recent}) >= 0);
        CHECK(chunk.last == (next == n));
        if (chunk.last) CHECK(s.recent >= 1);
      }
      CHECK(next == n);
      CHECK(rows == budget);
    }
  }
}

TEST_CASE("chunks: an error leaves an empty cache, and the prompt can be read again") {
  const Model model = load_tiny({}, kCapacity);
  KvOptions options = kv_options("sage", 24);
  options.order = PrefillOrder::kPatched;
  options.evict_chunk = 16;
  const std::vector<int32_t> prompt = prompt_of({}, kPrompt, 46);
  Sequence sequence = make_sequence(model, options, kPrompt, kCapacity);
  PrefillHooks hooks;
  hooks.progress = [&](uint64_t done, uint64_t total) {
    CHECK(done <= total);
    if (2 * done > total) throw std::runtime_error("stop");
  };
  CHECK_THROWS_AS(sequence.prefill(prompt, hooks), std::runtime_error);
  CHECK(sequence.cache().empty());
  sequence.prefill(prompt);
  Sequence fresh = make_sequence(model, options, kPrompt, kCapacity);
  fresh.prefill(prompt);
  check_same(state_of(sequence, model), state_of(fresh, model));
  CHECK(sequence.meter().footprint() == fresh.meter().footprint());
}

/// The closed formula of the footprint paper's scorer for a cache that keeps `kept` rows of each
/// chunk of `c` tokens, over a prompt of n and m decode steps.
static double closed_footprint(int64_t n, int64_t m, int64_t c, const std::vector<int64_t>& kept) {
  const auto triangle = [](double x) { return x * (x + 1) / 2; };
  double sum = 0, past = 0;
  size_t i = 0;
  for (int64_t a = 0; a < n; a += c, ++i) {
    const auto rows = double(std::min(c, n - a));
    sum += triangle(rows) + past * rows;
    past += double(kept[i]);
  }
  sum += triangle(double(m)) + past * double(m);
  return sum / triangle(double(n + m));
}

TEST_CASE("chunks: the footprint is that of the closed formula") {
  const Model model = load_tiny({}, 400);
  const std::vector<int32_t> prompt = prompt_of({}, 300, 47);
  for (const PrefillOrder order : {PrefillOrder::kChunk, PrefillOrder::kPatched}) {
    for (const int64_t c : {32, 75, 300}) {
      KvOptions options = kv_options("sage", 90);
      options.group = Group::kMean;
      options.order = order;
      options.evict_chunk = c;
      Sequence sequence = make_sequence(model, options, 300, 400);
      sequence.prefill(prompt);
      for (int i = 0; i < 20; ++i) step(sequence, i);
      std::vector<int64_t> kept;
      for (int64_t a = 0; a < 300; a += c) {
        const int64_t end = std::min<int64_t>(a + c, 300);
        kept.push_back(90 * end / 300 - 90 * a / 300);
      }
      CAPTURE(c);
      CHECK(sequence.meter().footprint() == doctest::Approx(closed_footprint(300, 20, c, kept)));
    }
  }
}
