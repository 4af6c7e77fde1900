// Sliding windows on the CPU device: a window hides what a mask could hide, row by row.
#include <doctest/doctest.h>

#include <cstring>

#include "src/cpu/ops.h"
#include "src/cpu/winnow.h"
#include "tests/support/loaded_model.h"
#include "tests/support/window_layer.h"

using namespace winnow;
using namespace winnow::test;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The last logits of a prompt that a SAGE budget of `budget` rows keeps whole or not.
std::vector<float> sage_logits(const Model& model, std::span<const int32_t> tokens,
                               int64_t budget) {
  KvOptions options;
  options.policy = "sage";
  options.budget = KvBudget{.amount = double(budget)};
  SequenceOptions settings{.capacity = 100, .prefill_rows = 16, .kv = {}};
  settings.kv = resolve_kv(options, model.config, DType::kF32, std::ssize(tokens));
  Sequence sequence(model.network(), settings);
  sequence.prefill(tokens);
  for (int i = 0; i < 20; ++i) {
    sequence.sample(int32_t(model.config.vocab_size), {});
    sequence.decode();
  }
  return last_logits(sequence, model);
}

}  // namespace

TEST_CASE("attention in a window equals attention to the rows that masks leave") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const int32_t n : {1, 4, 5, 70}) {
      for (const int64_t window : {1, 7, 64, 333, 100'000}) {
        CAPTURE(c.head_dim);
        CAPTURE(n);
        CAPTURE(window);
        std::vector<int32_t> held(size_t(c.n_kv_heads), 5);
        held[0] = 211;
        TestLayer layer = window_layer(c, held, n, 1);
        const std::vector<float> q = random_floats(n * c.q_size(), 2, 2);
        std::vector<float> out = poisoned(n * c.q_size());
        KvRows kv = layer.view();
        kv.window = window;
        cpu::attention(c, n, q.data(), kv, out.data());
        std::vector<float> expected = poisoned(n * c.q_size());
        for (int64_t i = 0; i < n; ++i) {
          const int32_t place = layer.position[size_t(layer.first[0] + held[0] + i)];
          TestLayer masked = masked_before(layer, window, place);
          const int64_t at = i * c.q_size();
          cpu::attention(c, 1, &q[size_t(at)], masked.view(i), &expected[size_t(at)]);
        }
        CHECK(nmse(out, expected) < 1e-11);
      }
    }
  }
}

TEST_CASE("scores of rows that the last token's window hides are -infinity") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const int64_t window : {1, 50, 100'000}) {
      std::vector<int32_t> held(size_t(c.n_kv_heads), 6);
      held[0] = 700;
      TestLayer layer = window_layer(c, held, 1, 3);
      for (int32_t& rows : held) rows += 1;
      const TestZones zones(held);
      const std::vector<float> q = random_floats(c.q_size(), 4, 2);
      KvRows kv = layer.view();
      kv.window = window;
      TestLists lists(c.n_heads, 701), expected(c.n_heads, 701);
      cpu::attention_scores(c, q.data(), kv, zones.view(), lists.view());
      const int32_t place = layer.position[size_t(layer.first[0] + 700)];
      TestLayer masked = masked_before(layer, window, place);
      cpu::attention_scores(c, q.data(), masked.view(), zones.view(), expected.view());
      CHECK(same_bits(lists.score, expected.score));
    }
  }
}

TEST_CASE("a window: prefill, prefill in pieces and decode steps are the same network") {
  for (const char* family : {"mistral", "qwen2"}) {
    for (const int64_t window : {1, 5, 24}) {
      TinyModel tiny{.seed = 5, .model_type = family};
      tiny.window = window;
      const Model model = load_tiny(tiny, 100);
      CHECK(model.config.window == window);
      const std::vector<int32_t> tokens = random_tokens(60, tiny.vocab_size, 6);
      const std::vector<float> all = all_logits(model, tokens);
      const std::vector<float> last(all.end() - tiny.vocab_size, all.end());
      CHECK(nmse(all_logits(model, tokens, 7), all) < 1e-10);
      CHECK(nmse(pieces_logits(model, tokens, 33), last) < 1e-10);
      CHECK(nmse(stepwise_logits(model, tokens), last) < 1e-10);
    }
  }
}

TEST_CASE("a window as long as the text changes nothing, a shorter one does") {
  TinyModel tiny{.seed = 7, .model_type = "mistral"};
  const std::vector<int32_t> tokens = random_tokens(40, tiny.vocab_size, 8);
  std::vector<std::vector<float>> logits;
  for (const int64_t window : {40, 1000, 39}) {
    tiny.window = window;
    logits.push_back(all_logits(load_tiny(tiny, 40), tokens));
  }
  CHECK(same_bits(logits[0], logits[1]));
  CHECK_FALSE(same_bits(logits[0], logits[2]));
  // Only the last token is 39 places away from the first.
  const auto before = logits[0].end() - tiny.vocab_size;
  CHECK(std::equal(logits[0].begin(), before, logits[2].begin()));
}

TEST_CASE("a window and a budget: rows keep their places, and a budget for all of them is no cut") {
  TinyModel tiny{.seed = 9, .model_type = "mistral"};
  tiny.window = 12;
  const Model model = load_tiny(tiny, 100);
  const std::vector<int32_t> tokens = random_tokens(50, tiny.vocab_size, 10);
  const std::vector<float> whole = sage_logits(model, tokens, 100);
  CHECK(same_bits(sage_logits(model, tokens, 60), whole));
  // Of 48 rows 12 are the most recent: all that later tokens see.
  CHECK(nmse(sage_logits(model, tokens, 48), whole) < 1e-10);
}
