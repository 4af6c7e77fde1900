// The GPU's top-k: each cut against a full sort by CUB, and the rows that it takes against the
// CPU's, over sizes, kinds of scores, k and zones. Scores outside of a zone are NaN.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/top_k_case.h"

using namespace winnow;
using namespace winnow::test;

namespace {

bool same(const Cut& a, const Cut& b) {
  const bool both_nan = std::isnan(a.score) && std::isnan(b.score);
  return a.last_tie == b.last_tie &&
         (both_nan || std::bit_cast<uint32_t>(a.score) == std::bit_cast<uint32_t>(b.score));
}

/// sorted [end - begin]: the list's rows in the order in which they are taken.
Cut expected_cut(const float* score, const int32_t* sorted, int64_t n, int64_t k) {
  int64_t n_candidates = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (std::isnan(score[sorted[i]])) return {kNan, -1};
    n_candidates += score[sorted[i]] > -kInf ? 1 : 0;
  }
  if (k <= 0) return {kInf, -1};
  if (n_candidates <= k) return {-kInf, -1};
  const float last = score[sorted[k - 1]];
  return {last == 0 ? 0.0F : last, sorted[k - 1]};
}

/// The rows of a zone that a cut takes.
std::vector<int32_t> taken(const Cut& cut, const float* score, int32_t begin, int32_t end) {
  std::vector<int32_t> rows;
  for (int32_t row = begin; row < end; ++row) {
    if (cut.takes(score[row], row)) rows.push_back(row);
  }
  return rows;
}

/// sorted: the rows of the list's zone as the oracle orders them; cpu: the CPU's cut.
void check_list(const TopKCase& c, int64_t i, const Cut& cut, const int32_t* sorted,
                const Cut& cpu) {
  const size_t h = c.head_of(i);
  const float* score = c.list(i);
  CAPTURE(i);
  CAPTURE(c.begin[h]);
  CAPTURE(c.end[h]);
  CAPTURE(c.k[h]);
  const Cut expected = expected_cut(score, sorted, c.end[h] - c.begin[h], c.k[h]);
  INFO("expected ", expected.score, " and row ", expected.last_tie, ", got ", cut.score,
       " and row ", cut.last_tie);
  CHECK(same(cut, expected));

  CHECK(std::isnan(cpu.score) == std::isnan(cut.score));
  if (std::isnan(cut.score)) return;
  const std::vector<int32_t> rows = taken(cut, score, c.begin[h], c.end[h]);
  std::vector<int32_t> best(sorted, sorted + rows.size());
  std::sort(best.begin(), best.end());
  CHECK(rows == best);
  CHECK(rows == taken(cpu, score, c.begin[h], c.end[h]));
}

/// Runs a case on both devices and checks every list. Returns the GPU's cuts.
std::vector<Cut> check(TopKCase c) {
  const TopKOnGpu gpu(c);
  gpu.top_k();
  const std::vector<Cut> cuts = gpu.cuts();
  gpu.top_k();
  CHECK(raw_bytes(gpu.cuts()) == raw_bytes(cuts));
  CHECK(gpu.scores() == raw_bytes(c.score));

  const DeviceBuffer workspace(sort_zones_bytes(gpu.lists())), rows(c.score.size() * 4);
  gpu.sort(workspace, rows);
  const auto sorted = rows.values<int32_t>();

  ModelConfig config;
  config.n_heads = c.n();
  config.n_kv_heads = c.n_kv_heads();
  make_cpu_device(config, 2)->top_k(c.zones(), c.lists());

  for (int64_t i = 0; i < c.n(); ++i) {
    const int32_t begin = c.begin[c.head_of(i)];
    check_list(c, i, cuts[size_t(i)], sorted.data() + i * c.stride + begin, c.cut[size_t(i)]);
  }
  return cuts;
}

int64_t round_up_to_4(int64_t n) {
  return (n + 3) / 4 * 4;
}

/// One list for each k that may matter to n scores, each zone beginning elsewhere: k around 0, half
/// and all of the rows, and around the number of candidates.
TopKCase make_sized_case(int32_t n, ScoreKind kind, uint32_t seed) {
  const std::vector<int32_t> k = {0, 1, 2, n / 2, n - 1, n, n + 5, std::min(n, 2048)};
  constexpr int32_t kAround = 3;  // heads whose k depends on the scores
  TopKCase c;
  c.k = k;
  c.k.resize(k.size() + kAround, 0);
  for (int32_t h = 0; h < int32_t(c.k.size()); ++h) {
    c.begin.push_back(h);
    c.end.push_back(h + n);
  }
  c.stride = round_up_to_4(n + c.n_kv_heads());
  fill_scores(c, kind, seed);
  for (int32_t i = 0; i < kAround; ++i) {
    const size_t h = k.size() + size_t(i);
    const float* zone = c.list(int64_t(h)) + c.begin[h];
    const auto n_candidates = std::count_if(zone, zone + n, [](float s) { return s > -kInf; });
    c.k[h] = std::max(static_cast<int32_t>(n_candidates) - 1 + i, 0);
  }
  return c;
}

/// One list of these scores, from row `begin` on.
TopKCase make_case(const std::vector<float>& scores, int32_t begin, int32_t k) {
  TopKCase c;
  c.begin = {begin};
  c.end = {begin + int32_t(scores.size())};
  c.k = {k};
  c.stride = round_up_to_4(c.end[0]);
  c.score = poisoned(c.stride);
  std::copy(scores.begin(), scores.end(), c.score.begin() + begin);
  return c;
}

}  // namespace

TEST_CASE("GPU: top-k is a sort's first k: sizes, kinds of scores, k from none to more than all") {
  NEEDS_GPU();
  uint32_t seed = 0;
  for (const int32_t n :
       {1,    2,    3,    4,    5,      31,     32,     33,     1023,    1024,
        1025, 4095, 4096, 4097, 16'384, 16'387, 50'001, 65'536, 131'072, 200'000}) {
    for (const ScoreKind kind : kScoreKinds) {
      CAPTURE(n);
      CAPTURE(static_cast<int>(kind));
      check(make_sized_case(n, kind, ++seed));
    }
  }
}

TEST_CASE("GPU: each KV head has its own zone and k, shared by the lists of its group") {
  NEEDS_GPU();
  std::mt19937 random(1);
  for (uint32_t seed = 0; seed < 60; ++seed) {
    TopKCase c;
    c.lists_per_head = 1 + seed % 7;
    c.stride = 4 * int64_t(1 + random() % (seed % 10 == 0 ? 20'000 : 800));
    for (uint32_t h = 0; h < 1 + seed % 5; ++h) {
      const auto a = static_cast<int32_t>(random() % uint32_t(c.stride + 1));
      const auto b = static_cast<int32_t>(random() % uint32_t(c.stride + 1));
      c.begin.push_back(std::min(a, b));
      c.end.push_back(random() % 6 == 0 ? std::min(a, b) : std::max(a, b));  // some are empty
      c.k.push_back(static_cast<int32_t>(random() % uint32_t(c.stride / 2)));
    }
    fill_scores(c, kScoreKinds[seed % std::size(kScoreKinds)], seed);
    CAPTURE(seed);
    check(c);
  }
}

TEST_CASE("GPU: scores that fall or rise from row to row, or fall once") {
  NEEDS_GPU();
  for (const int32_t n : {1000, 40'000, 150'000}) {
    for (const int32_t k : {1, 999, 4096, 16'384, 32'768}) {
      std::vector<float> fall, rise, step;
      for (int32_t row = 0; row < n; ++row) {
        fall.push_back(static_cast<float>(n - row));
        rise.push_back(static_cast<float>(row));
        step.push_back(row < k ? 2 : 1);
      }
      for (const int32_t begin : {0, 3, 4}) {
        CAPTURE(n);
        CAPTURE(k);
        check(make_case(fall, begin, k));
        check(make_case(rise, begin, k));
        check(make_case(step, begin, k));
      }
    }
  }
}

TEST_CASE("GPU: cuts as they are written down") {
  NEEDS_GPU();
  const auto cut = [](const std::vector<float>& scores, int32_t begin, int32_t k) {
    return check(make_case(scores, begin, k))[0];
  };
  CHECK(same(cut({3, 1, 3, 3, 2}, 0, 2), {3, 2}));
  CHECK(same(cut({3, 1, 3, 3, 2}, 5, 2), {3, 7}));
  CHECK(same(cut({3, 1, 3, 3, 2}, 1, 4), {2, 5}));
  CHECK(same(cut({3, 1, 3, 3, 2}, 1, 5), {-kInf, -1}));
  CHECK(same(cut({3, 1, 3, 3, 2}, 1, 0), {kInf, -1}));
  CHECK(same(cut({-0.0F, 0, -0.0F, -1, 1}, 0, 2), {0, 0}));
  CHECK(same(cut({-0.0F, 0, -0.0F, -1, 1}, 0, 4), {0, 2}));
  CHECK(same(cut({0, kInf, -kInf, kInf}, 3, 1), {kInf, 4}));
  CHECK(same(cut({0, kInf, -kInf, kInf}, 3, 2), {kInf, 6}));
  CHECK(same(cut({0, kInf, -kInf, kInf}, 3, 3), {-kInf, -1}));
  CHECK(same(cut({-kInf, -kInf, -kInf}, 0, 1), {-kInf, -1}));
  CHECK(same(cut({-1e-45F, 1e-45F, 0}, 0, 1), {1e-45F, 1}));
  CHECK(same(cut({-1e-45F, 1e-45F, 0}, 0, 2), {0, 2}));
}

TEST_CASE("GPU: a NaN makes its own list's cut NaN, wherever in the zone it is, whatever k is") {
  NEEDS_GPU();
  for (const int32_t n : {1, 7, 5000, 70'000}) {
    for (const int32_t at : {0, n / 3, n - 1}) {
      for (const float nan : {kNan, -kNan, std::bit_cast<float>(0x7f800001U)}) {
        TopKCase c = make_sized_case(n, ScoreKind::kNormal, 9);
        std::vector<Cut> before = check(c);
        for (size_t h = 0; h < c.k.size(); h += 2) {
          c.score[h * size_t(c.stride) + size_t(c.begin[h] + at)] = nan;
        }
        const std::vector<Cut> cuts = check(c);
        for (size_t h = 0; h < c.k.size(); ++h) {
          CHECK(same(cuts[h], h % 2 == 0 ? Cut{kNan, -1} : before[h]));
        }
      }
    }
  }
}

TEST_CASE("GPU: no lists, no work") {
  NEEDS_GPU();
  cuda::top_k({}, {}, 8, nullptr);
  cuda::check_cuda(cudaDeviceSynchronize(), "run nothing");
}
