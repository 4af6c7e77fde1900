// Top-k by radix select: the k-th greatest score is found digit by digit, from its upper bits down,
// and nothing is sorted or copied.
//
//   scores as numbers    7 1 4 | 4 2 9 | 4 2 9 | 4 8 3 | 1 0 0        k = 3
//   upper digit          one 7, then three 4: the third greatest begins with 4, second of those
//   next digit           of 4 . .: one 8, then two 2: it begins with 4 2, first of those
//   last digit           of 4 2 .: two 9: it is 4 2 9, and one of the two is taken: the lower row
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "src/cpu/threads.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 32 / kDigitBits;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The cut that takes nothing.
constexpr Cut kNothing{.score = kInfinity, .last_tie = -1};

/// Greater scores have greater keys, and -0 has that of +0 (-0 + 0 is +0). Positive floats are
/// ordered like their bits, negative ones the other way round and below them.
uint32_t key_of(float score) {
  constexpr uint32_t kSign = 0x80000000U;
  const auto bits = std::bit_cast<uint32_t>(score + 0.0F);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

/// The k-th greatest key, and how many rows that have it are among the first k.
struct KthKey {
  uint32_t key = 0;
  int64_t ties = 0;
};

/// score [end], rows from `begin`; 1 <= k <= end - begin
KthKey kth_key(const float* score, int64_t begin, int64_t end, int64_t k) {
  KthKey kth{.key = 0, .ties = k};
  for (int digit = kDigits - 1; digit >= 0; --digit) {
    const int shift = digit * kDigitBits;
    std::array<int64_t, 1 << kDigitBits> count{};
    for (int64_t r = begin; r < end; ++r) {
      // The digits found so far must agree; those not yet found are 0 in kth.key.
      const uint32_t difference = (key_of(score[r]) ^ kth.key) >> shift;
      if (difference < count.size()) ++count[difference];
    }
    size_t value = count.size() - 1;
    for (; kth.ties > count[value]; --value) kth.ties -= count[value];
    kth.key |= static_cast<uint32_t>(value) << shift;
  }
  return kth;
}

/// score [end], rows from `begin`
Cut cut_of(const float* score, int64_t begin, int64_t end, int64_t k) {
  int64_t n_candidates = 0;
  bool has_nan = false;
  for (int64_t r = begin; r < end; ++r) {
    n_candidates += static_cast<int64_t>(score[r] > -kInfinity);
    has_nan |= std::isnan(score[r]);
  }
  if (has_nan) return {.score = std::numeric_limits<float>::quiet_NaN(), .last_tie = -1};
  k = std::min(k, n_candidates);  // the rows of -infinity have the least key: none is among them
  if (k <= 0) return kNothing;
  const KthKey kth = kth_key(score, begin, end, k);
  int64_t row = begin - 1;
  for (int64_t ties = kth.ties; ties > 0;) {
    ++row;
    if (key_of(score[row]) == kth.key) --ties;
  }
  return {.score = score[row] + 0.0F, .last_tie = static_cast<int32_t>(row)};
}

}  // namespace

void top_k(const ModelConfig& config, const Zones& zones, const ScoreLists& lists) {
  const int64_t lists_per_head = std::max<int64_t>(lists.n / config.n_kv_heads, 1);
  const int64_t work = lists.n * zones.max_rows * (kDigits + 2);
#pragma omp parallel for schedule(dynamic) if (work >= kParallelWork)
  for (int64_t i = 0; i < lists.n; ++i) {
    const int64_t h = i / lists_per_head;
    lists.cut[i] = cut_of(lists.score + i * lists.stride, zones.begin[h], zones.end[h], zones.k[h]);
  }
}

}  // namespace winnow::cpu
