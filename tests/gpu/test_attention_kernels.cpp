// The GPU's attention against the formula in double precision, over ragged rows with masks: every
// kernel that applies takes the same cases.
#include <doctest/doctest.h>

#include "cuda/attention_prefill.h"
#include "tests/gpu/attention_case.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using Case = AttentionCase;

struct Kernel {
  const char* name;
  AttentionLaunch launch;
  bool rounds = false;            // weights before they are summed up, where T has 16 bits
  int64_t most_rows = 1'000'000;  // that a test asks of it
};

const Kernel kKernels[] = {
    {"plain", [](const auto& args) { return cuda::attention_prefill_plain(args, nullptr); }},
    {"mma", [](const auto& args) { return cuda::attention_prefill_mma(args, nullptr); }},
    {"sm90", [](const auto& args) { return cuda::attention_prefill_sm90(args, nullptr); }},
    {"decode, plain",
     [](auto args) {
       args.exchange = nullptr;
       cuda::attention_decode(args, nullptr);
       return true;
     },
     false, kMostDecodeQueries},
    {"decode",
     [](const auto& args) {
       cuda::attention_decode(args, nullptr);
       return true;
     },
     true, kMostDecodeQueries},
};

/// Every kernel that applies, each twice.
void check(const Case& c, double bound) {
  CAPTURE(std::string(dtype_name(c.type)));
  CAPTURE(c.heads.n_heads);
  CAPTURE(c.heads.n_kv_heads);
  CAPTURE(c.heads.head_dim);
  CAPTURE(c.n);
  const Expected expected = naive(c);
  for (const Kernel& kernel : kKernels) {
    if (c.n > kernel.most_rows) continue;
    CAPTURE(std::string(kernel.name));
    const AttentionResult result = run(c, kernel.launch);
    if (!result.ran) continue;
    CHECK(nmse(result.out, expected.out) < bound);
    // Half a unit in the last place of a weight, as a part of the sum and so of its logarithm.
    const double ulp = c.type == DType::kBF16 ? 0x1p-8 : c.type == DType::kF16 ? 0x1p-11 : 0;
    const double rounding = kernel.rounds ? 1.5 * ulp : 0;
    CHECK(lse_error(result.lse, expected.lse) < kLseTolerance + rounding);
    const AttentionResult again = run(c, kernel.launch);
    CHECK(same_bits(result.out, again.out));
    CHECK(same_bits(result.lse, again.lse));
  }
}

void check(const Case& c) {
  check(c, tolerance(c.type));
}

const cuda::Heads kLayouts[] = {{1, 1, 2},    {4, 4, 6},    {6, 2, 64},  {8, 1, 20},
                                {4, 2, 128},  {2, 1, 256},  {32, 1, 16}, {7, 1, 64},
                                {14, 2, 128}, {12, 1, 128}, {3, 3, 64},  {2, 2, 80}};

}  // namespace

TEST_CASE(
    "GPU: attention equals the formula: MHA, GQA, MQA, every kind of head, few rows and many") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      for (const int64_t n : {1, 2, 5, 33, 150}) {
        check(make_case(heads, type, n, std::vector<int32_t>(size_t(heads.n_kv_heads), 0), 0, 1));
      }
    }
  }
}

TEST_CASE("GPU: attention over held rows, ragged over heads, and after rows of the same pass") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      for (const int64_t n : {1, 4, 70}) {
        check(make_case(heads, type, n, ragged(heads.n_kv_heads), 0, 2));
        check(make_case(heads, type, n, ragged(heads.n_kv_heads), 61, 3));
      }
    }
    check(make_case({6, 3, 64}, type, 3, {0, 700, 5000}, 0, 4));
  }
}

TEST_CASE("GPU: over a ring, what is visible does not end at the row that was written last") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      Case c = make_case(heads, type, 1, ragged(heads.n_kv_heads), 0, 13);
      TestRandom random(14);
      for (uint32_t& mask : c.mask) mask = random.next() < 0 ? 1 : 0xfffffffeU;
      for (size_t h = 0; h < c.slot.size(); ++h) {
        if (c.slot[h] == 0) continue;  // no row yet: appending
        c.visible[h] = c.slot[h];
        c.ring_rows[h] = (c.slot[h] + 1) / 2;
        c.slot[h] -= c.ring_rows[h] - int32_t(h) % c.ring_rows[h];
      }
      check(c);
    }
  }
}

TEST_CASE("GPU: the capacity of the cache changes the launch, not the result") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const int64_t capacity : {1, 64, 1000, 100'000}) {
      Case c = make_case({8, 2, 128}, type, 2, {300, 17}, 0, 5);
      c.capacity = capacity;
      check(c);
    }
  }
}

TEST_CASE("GPU: a query head sees the rows whose mask has its bit, and no others") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      for (const int64_t n : {1, 3, 80}) {
        Case c = make_case(heads, type, n, ragged(heads.n_kv_heads), 2, 6);
        mask_kept_rows(c, 7);
        check(c);
      }
    }
  }
}

TEST_CASE("GPU: a query head that sees no row gives zeros, not NaN") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{2, 1, 8}, {2, 1, 64}, {2, 1, 128}}) {
      Case masked = make_case(heads, type, 1, {600}, 0, 8);
      for (uint32_t& mask : masked.mask) mask = 1;
      check(masked);
      Case none_yet = make_case(heads, type, 6, {0}, 0, 8);
      none_yet.visible[0] = 0;
      check(none_yet);
      for (const Kernel& kernel : kKernels) {
        CAPTURE(std::string(kernel.name));
        const AttentionResult one = run(masked, kernel.launch);
        for (size_t at = 0; one.ran && at < one.out.size(); ++at) {
          CHECK((one.out[at] == 0) == (at >= size_t(heads.head_dim)));
        }
        if (none_yet.n > kernel.most_rows) continue;
        const AttentionResult many = run(none_yet, kernel.launch);
        for (size_t at = 0; many.ran && at < many.out.size(); ++at) {
          CHECK((many.out[at] == 0) == (at < size_t(heads.q_size())));
        }
      }
    }
  }
}

TEST_CASE("GPU: a stretch of rows in which a head sees nothing adds nothing") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{2, 1, 8}, {2, 1, 64}, {2, 1, 128}}) {
      Case front = make_case(heads, type, 2, {1100}, 0, 9);
      for (size_t r = 0; r < 1024; ++r) front.mask[size_t(front.first[0]) + r] = 2;
      check(front);
      Case back = make_case(heads, type, 2, {1100}, 0, 10);
      for (size_t r = 70; r < 1100; ++r) back.mask[size_t(back.first[0]) + r] = 2;
      check(back);
    }
  }
}

TEST_CASE("GPU: great scores do not overflow") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const int64_t n : {2, 40}) {
      check(make_case({2, 1, 8}, type, n, {100}, 0, 11, 2000), 1e-4);
      check(make_case({4, 1, 64}, type, n, {100}, 0, 12, 2000), 1e-4);
    }
  }
}
