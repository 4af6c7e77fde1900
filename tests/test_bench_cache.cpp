// Caches that are filled without a prompt: the rows, positions, masks and counters that a prompt
// would have left, and texts that begin again where they began.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "src/bench/synthetic.h"
#include "tests/support/loaded_model.h"

namespace winnow::test {
namespace {

const TinyModel kTiny = {.n_layers = 3, .n_heads = 6, .n_kv_heads = 2, .max_positions = 256};

KvSettings settings_of(const Model& model, const KvOptions& options, int64_t n_prompt) {
  return resolve_kv(options, model.config, DType::kF32, n_prompt);
}

KvOptions method(const std::string& policy, double budget) {
  KvOptions options;
  options.policy = policy;
  options.budget = {KvBudget::Unit::kRows, budget};
  return options;
}

/// A text of which `depth` tokens are said to have been read.
struct Filled {
  Filled(const Model& model, const KvSettings& kv, int64_t depth, int64_t growth)
      : sequence(model.network(), {.capacity = depth + 50, .prefill_rows = 1, .kv = kv}) {
    std::unique_ptr<KvStore> store = sequence.new_store();
    fill_store(*store, *model.device, model.config, kv, depth, synthetic_head(kv, depth, growth));
    sequence.adopt(std::move(store), depth);
  }

  std::vector<float> logits_after(const Model& model, std::span<const int32_t> tokens) {
    for (const int32_t token : tokens) {
      sequence.set_next_token(token);
      sequence.decode();
    }
    return last_logits(sequence, model);
  }

  Sequence sequence;
};

void check_same_rows(const KeptRecord& a, const KeptRecord& b) {
  CHECK(a.n_tokens == b.n_tokens);
  REQUIRE(a.heads.size() == b.heads.size());
  for (size_t i = 0; i < a.heads.size(); ++i) {
    CHECK(a.heads[i].position == b.heads[i].position);
    CHECK(a.heads[i].mask == b.heads[i].mask);
  }
}

}  // namespace

TEST_CASE("bench cache: the rows and counters that a prompt leaves, all kept or a streaming few") {
  const Model model = load_tiny(kTiny, 200);
  for (const KvOptions& options : {KvOptions{}, method("streaming", 12), method("streaming", 90)}) {
    const int64_t depth = 60;
    const KvSettings kv = settings_of(model, options, depth);
    const std::vector<int32_t> tokens = random_tokens(depth + 20, kTiny.vocab_size, 1);
    Sequence read(model.network(), {.capacity = depth + 50, .prefill_rows = 0, .kv = kv});
    read.prefill(std::span(tokens).first(static_cast<size_t>(depth)));
    Filled filled(model, kv, depth, 50);
    check_same_rows(filled.sequence.cache().kept(), read.cache().kept());
    for (const int32_t token : std::span(tokens).last(20)) {
      for (Sequence* sequence : {&read, &filled.sequence}) {
        sequence->set_next_token(token);
        sequence->decode();
      }
    }
    check_same_rows(filled.sequence.cache().kept(), read.cache().kept());
  }
}

TEST_CASE("bench cache: lists that share no row, each seen by its own query head") {
  const Model model = load_tiny(kTiny, 200);
  const int64_t depth = 100;
  const KvSettings kv = settings_of(model, method("sage", 26), depth);
  const Shares& shares = kv.shares;
  REQUIRE(shares.k > 1);
  Filled filled(model, kv, depth, 0);
  const KeptRecord kept = filled.sequence.cache().kept();
  CHECK(kept.n_tokens == depth);
  for (const KeptHead& head : kept.heads) {
    REQUIRE(head.position.size() == 26);
    CHECK(std::set(head.position.begin(), head.position.end()).size() == 26);
    CHECK(std::ranges::is_sorted(head.position));
    CHECK(head.position.front() == 0);
    CHECK(head.position.back() == depth - 1);
    std::vector<int64_t> lists(3);
    for (size_t i = 0; i < head.mask.size(); ++i) {
      const int64_t position = head.position[i];
      const bool outside = position < shares.sink || position >= depth - shares.recent;
      if (outside) CHECK(head.mask[i] == kSeenByAll);
      if (outside) continue;
      for (size_t g = 0; g < lists.size(); ++g) lists[g] += head.mask[i] == 1U << g ? 1 : 0;
    }
    for (const int64_t rows : lists) CHECK(rows == shares.k);
  }
  // The ring turns: a token more, and as many rows.
  filled.logits_after(model, std::vector<int32_t>{1, 2, 3});
  CHECK(filled.sequence.cache().next_position() == depth + 3);
  CHECK(filled.sequence.cache().kept().heads[0].position.back() == depth + 2);
  CHECK(filled.sequence.cache().kept().heads[0].position.size() == 26);
}

TEST_CASE("bench cache: tokens that are taken back leave no trace, down to an empty cache") {
  const Model model = load_tiny(kTiny, 200);
  const std::vector<int32_t> tokens = random_tokens(7, kTiny.vocab_size, 2);
  for (const int64_t depth : {0, 1, 33}) {
    Filled filled(model, {}, depth, 7);
    const std::vector<float> first = filled.logits_after(model, tokens);
    filled.sequence.take_back(7);
    CHECK(filled.sequence.cache().next_position() == depth);
    CHECK(filled.logits_after(model, tokens) == first);
    filled.sequence.take_back(3);
    CHECK(filled.logits_after(model, std::span(tokens).last(3)) == first);
  }
  // From nothing, that is reading the text.
  Filled filled(model, {}, 0, 7);
  CHECK(filled.logits_after(model, tokens) == stepwise_logits(model, tokens));
}

TEST_CASE("bench cache: rows are selected anew over a filled cache, where that is asked for") {
  const Model model = load_tiny(kTiny, 200);
  KvOptions options = method("sage", 24);
  options.recompact = 4;
  const int64_t depth = 80;
  const KvSettings kv = settings_of(model, options, depth);
  Filled filled(model, kv, depth, 4);
  const std::vector<int32_t> tokens = random_tokens(13, kTiny.vocab_size, 3);
  for (size_t i = 0; i < tokens.size(); ++i) {
    filled.logits_after(model, std::span(tokens).subspan(i, 1));
    for (const KeptHead& head : filled.sequence.cache().kept().heads) {
      CHECK(head.position.size() <= 24 + 4);
      CHECK(head.position.back() == depth + static_cast<int64_t>(i));
    }
  }
  CHECK(filled.sequence.compact_ms() > 0);
}

}  // namespace winnow::test
