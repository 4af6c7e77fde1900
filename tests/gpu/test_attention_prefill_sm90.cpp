// Prefill attention with Hopper's own instructions: lengths around its tiles, groups, kept rows
// with masks, and that how the work is divided changes nothing.
#include <doctest/doctest.h>

#include "cuda/attention_prefill.h"
#include "tests/gpu/attention_case.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr DType kShortTypes[] = {DType::kF16, DType::kBF16};

AttentionLaunch with_plan(const cuda::PrefillPlan& plan) {
  return [=](const cuda::AttentionArgs& args) {
    return cuda::attention_prefill_sm90(args, plan, nullptr);
  };
}

/// As if the GPU had so many multiprocessors: where they are few, a block that stays takes many
/// units.
AttentionLaunch with_staying_blocks(int multiprocessors) {
  return [=](cuda::AttentionArgs args) {
    args.gpu.multiprocessors = multiprocessors;
    return cuda::attention_prefill_sm90(args, {.stays = true}, nullptr);
  };
}

/// Under every plan: the formula's numbers, and the same bits.
void check(const AttentionCase& c, double bound) {
  CAPTURE(std::string(dtype_name(c.type)));
  CAPTURE(c.heads.n_heads);
  CAPTURE(c.heads.n_kv_heads);
  CAPTURE(c.heads.head_dim);
  CAPTURE(c.n);
  CAPTURE(c.appended);
  const Expected expected = naive(c);
  const AttentionResult first = run(c, with_plan({}));
  REQUIRE(first.ran);
  CHECK(nmse(first.out, expected.out) < bound);
  CHECK(lse_error(first.lse, expected.lse) < kLseTolerance);
  const auto check_same = [&](const AttentionResult& result) {
    CHECK(same_bits(result.out, first.out));
    CHECK(same_bits(result.lse, first.lse));
  };
  check_same(run(c, with_plan({})));
  for (const int multiprocessors : {1, 2, 7, 132}) {
    CAPTURE(multiprocessors);
    check_same(run(c, with_staying_blocks(multiprocessors)));
  }
}

void check(const AttentionCase& c) {
  check(c, tolerance(c.type));
}

std::vector<int32_t> same_for_all(const cuda::Heads& heads, int32_t rows) {
  return std::vector<int32_t>(size_t(heads.n_kv_heads), rows);
}

}  // namespace

TEST_CASE("GPU: sm90 prefill: lengths around the tiles of queries and of rows") {
  NEEDS_HOPPER();
  for (const DType type : kShortTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{4, 2, 64}, {4, 2, 128}}) {
      for (const int64_t n : {2, 5, 63, 64, 65, 127, 128, 129, 191, 192, 193, 257, 385, 700}) {
        check(make_case(heads, type, n, same_for_all(heads, 0), 0, uint64_t(n)));
      }
    }
  }
}

TEST_CASE("GPU: sm90 prefill: groups of all sizes over kept rows, with masks and without") {
  NEEDS_HOPPER();
  for (const DType type : kShortTypes) {
    for (const int64_t head_dim : {64, 128}) {
      for (const int64_t group : {1, 2, 3, 4, 7, 8, 32}) {
        const int64_t n_kv_heads = group < 8 ? 3 : 1;
        const cuda::Heads heads{group * n_kv_heads, n_kv_heads, head_dim};
        std::vector<int32_t> held = {700, 0, 129};
        held.resize(size_t(n_kv_heads));
        AttentionCase c = make_case(heads, type, 150, held, 0, uint64_t(group));
        check(c);
        mask_kept_rows(c, 7);
        check(c);
      }
    }
  }
}

TEST_CASE("GPU: sm90 prefill: offsets that are no multiples of a tile") {
  NEEDS_HOPPER();
  for (const DType type : kShortTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{4, 2, 64}, {4, 2, 128}}) {
      for (const int32_t kept : {0, 1, 128, 300}) {
        for (const int64_t appended : {0, 61, 128}) {
          for (const int64_t n : {33, 210}) {
            AttentionCase c = make_case(heads, type, n, {kept, 2 * kept + 5}, appended, 3);
            mask_kept_rows(c, 11);
            check(c);
          }
        }
      }
    }
  }
}

TEST_CASE("GPU: sm90 prefill: query heads that see none of the kept rows") {
  NEEDS_HOPPER();
  for (const DType type : kShortTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{8, 2, 64}, {8, 2, 128}}) {
      for (const uint32_t hidden : {1U, 6U, 15U}) {
        AttentionCase c = make_case(heads, type, 200, {517, 40}, 30, 5);
        mask_kept_rows(c, 12, hidden);
        check(c);
      }
    }
  }
}

TEST_CASE("GPU: sm90 prefill: a query that sees nothing gives zeros and -infinity") {
  NEEDS_HOPPER();
  for (const DType type : kShortTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{2, 1, 64}, {2, 1, 128}}) {
      AttentionCase c = make_case(heads, type, 130, {0}, 0, 6);
      c.visible[0] = 0;
      check(c);
      const AttentionResult result = run(c, with_plan({}));
      CHECK(result.lse[0] == -INFINITY);
      CHECK(result.lse[1] > -INFINITY);
      CHECK(std::all_of(result.out.begin(), result.out.begin() + heads.q_size(),
                        [](float value) { return value == 0; }));
    }
  }
}

TEST_CASE("GPU: sm90 prefill: scores that grow from tile to tile") {
  NEEDS_HOPPER();
  for (const DType type : kShortTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{2, 1, 64}, {2, 1, 128}}) {
      for (const float scale : {8.0F, 40.0F, 2000.0F}) {
        check(make_case(heads, type, 900, {0}, 0, 9, scale), 1e-4);
      }
    }
  }
}

TEST_CASE("GPU: sm90 prefill: how often out is rescaled changes little") {
  NEEDS_HOPPER();
  for (const DType type : kShortTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{2, 1, 64}, {2, 1, 128}}) {
      const AttentionCase c = make_case(heads, type, 900, {0}, 0, 10, 20);
      const Expected expected = naive(c);
      for (const float slack : {0.0F, 1.0F, 8.0F}) {
        const AttentionResult result = run(c, with_plan({.slack = slack}));
        CHECK(nmse(result.out, expected.out) < tolerance(type));
        CHECK(lse_error(result.lse, expected.lse) < kLseTolerance);
      }
    }
  }
}

TEST_CASE("GPU: prefill takes the sm90 kernel on Hopper, and others where it does not apply") {
  NEEDS_GPU();
  const bool hopper = cuda::current_gpu().is_hopper();
  const auto sm90 = [](const auto& args) { return cuda::attention_prefill_sm90(args, nullptr); };
  const auto chosen = [](const auto& args) {
    cuda::attention_prefill(args, nullptr);
    return true;
  };
  for (const int64_t head_dim : {64, 80, 128}) {
    for (const DType type : kTypes) {
      for (const int64_t n : {1, 2, 150}) {
        const cuda::Heads heads{4, 2, head_dim};
        const AttentionCase c = make_case(heads, type, n, {77, 140}, 0, 14);
        const AttentionResult fast = run(c, sm90);
        CHECK(fast.ran == (hopper && head_dim != 80 && type != DType::kF32 && n > 1));
        const AttentionResult result = run(c, chosen);
        CHECK(nmse(result.out, naive(c).out) < tolerance(type));
        if (fast.ran) CHECK(same_bits(result.out, fast.out));
      }
    }
  }
  // A GPU of another design does not get it, nor do rows that start between multiples of 16 bytes.
  const AttentionCase c = make_case({4, 2, 128}, DType::kBF16, 150, {77, 140}, 0, 14);
  CHECK_FALSE(run(c, [&](cuda::AttentionArgs args) {
                args.gpu.capability = 80;
                return sm90(args);
              }).ran);
  CHECK_FALSE(run(c, [&](cuda::AttentionArgs args) {
                args.q = static_cast<const std::byte*>(args.q) + 2;
                return sm90(args);
              }).ran);
}

TEST_CASE("GPU: prefill without a place for the log-sum-exp gives the same rows") {
  NEEDS_GPU();
  const AttentionCase c = make_case({4, 2, 128}, DType::kBF16, 150, {77, 140}, 0, 15);
  const auto launch = [&](cuda::AttentionArgs args, bool lse) {
    if (!lse) args.lse = nullptr;
    cuda::attention_prefill(args, nullptr);
    return true;
  };
  const AttentionResult with = run(c, [&](const auto& args) { return launch(args, true); });
  const AttentionResult without = run(c, [&](const auto& args) { return launch(args, false); });
  CHECK(same_bits(with.out, without.out));
}
