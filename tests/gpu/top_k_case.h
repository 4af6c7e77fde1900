// Lists of scores for top-k, on the host and on the GPU.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/top_k.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/top_k_oracle.h"

namespace winnow::test {

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The lists of a layer.
struct TopKCase {
  int64_t lists_per_head = 1;
  int64_t stride = 0;
  std::vector<int32_t> begin, end, k;  // [n_kv_heads]
  std::vector<float> score;            // [n, stride]
  std::vector<Cut> cut = {};           // [n]

  int64_t n_kv_heads() const { return int64_t(k.size()); }
  int64_t n() const { return n_kv_heads() * lists_per_head; }
  size_t head_of(int64_t list) const { return size_t(list / lists_per_head); }
  const float* list(int64_t i) const { return &score[size_t(i * stride)]; }

  Zones zones() const {
    return {.rows = end.data(),
            .begin = begin.data(),
            .end = end.data(),
            .k = k.data(),
            .max_rows = stride};
  }
  ScoreLists lists() {
    cut.resize(size_t(n()));
    return {.n = n(), .stride = stride, .score = score.data(), .cut = cut.data()};
  }
};

/// A case in device memory.
class TopKOnGpu {
 public:
  explicit TopKOnGpu(const TopKCase& c)
      : n_kv_heads_(c.n_kv_heads()),
        begin_(raw_bytes(c.begin)),
        end_(raw_bytes(c.end)),
        k_(raw_bytes(c.k)),
        score_(raw_bytes(c.score)),
        cut_(raw_bytes(std::vector<Cut>(size_t(c.n()), kPoison))),
        zones_{.rows = end_.as<int32_t>(),
               .begin = begin_.as<int32_t>(),
               .end = end_.as<int32_t>(),
               .k = k_.as<int32_t>(),
               .max_rows = c.stride},
        lists_{.n = c.n(), .stride = c.stride, .score = score_.as<float>(), .cut = cut_.as<Cut>()} {
  }

  const ScoreLists& lists() const { return lists_; }
  void top_k() const { cuda::top_k(zones_, lists_, n_kv_heads_, nullptr); }
  void sort(const DeviceBuffer& workspace, const DeviceBuffer& rows) const {
    sort_zones(zones_, lists_, n_kv_heads_, workspace.data(), rows.as<int32_t>(), nullptr);
  }
  std::vector<Cut> cuts() const { return cut_.values<Cut>(); }
  std::string scores() const { return score_.download(); }

 private:
  static constexpr Cut kPoison{.score = 1.5F,
                               .last_tie = 77};  // like no cut, that of a NaN included

  int64_t n_kv_heads_;
  DeviceBuffer begin_, end_, k_, score_, cut_;
  Zones zones_;
  ScoreLists lists_;
};

/// Kinds of scores.
enum class ScoreKind {
  kNormal,     // around 0
  kClose,      // around 20: most share their upper bits
  kTies,       // five values
  kEqual,      // one
  kZeros,      // -0 and +0, and a few others
  kDenormals,  // of both signs, and zeros
  kInfinite,   // a third each: -infinity, +infinity, normal
  kMasked,     // nine of ten are -infinity
  kAnyBits,    // any but NaN
};
inline constexpr ScoreKind kScoreKinds[] = {
    ScoreKind::kNormal,   ScoreKind::kClose,  ScoreKind::kTies,
    ScoreKind::kEqual,    ScoreKind::kZeros,  ScoreKind::kDenormals,
    ScoreKind::kInfinite, ScoreKind::kMasked, ScoreKind::kAnyBits};

inline float draw_score(ScoreKind kind, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const auto word = static_cast<uint32_t>(random());
  switch (kind) {
    case ScoreKind::kNormal: return normal(random);
    case ScoreKind::kClose: return 20 + normal(random) / 2;
    case ScoreKind::kTies: return static_cast<float>(word % 5) - 2.5F;
    case ScoreKind::kEqual: return -1.75F;
    case ScoreKind::kZeros: {
      const float few[] = {1, -1};
      return word % 20 < 2 ? few[word % 2] : word % 3 == 0 ? 0.0F : -0.0F;
    }
    case ScoreKind::kDenormals: return std::bit_cast<float>((word & 0x80000000U) | word % 9000);
    case ScoreKind::kInfinite: return word % 3 == 0 ? kInf : word % 3 == 1 ? -kInf : normal(random);
    case ScoreKind::kMasked: return word % 10 == 0 ? normal(random) : -kInf;
    case ScoreKind::kAnyBits: {
      const auto score = std::bit_cast<float>(word);
      return std::isnan(score) ? 1.0F : score;
    }
  }
  return 0;
}

/// Scores for zones that are set, NaN between them.
inline void fill_scores(TopKCase& c, ScoreKind kind, uint32_t seed) {
  std::mt19937 random(seed);
  c.score = poisoned(c.n() * c.stride);
  for (int64_t i = 0; i < c.n(); ++i) {
    const size_t h = c.head_of(i);
    for (int32_t row = c.begin[h]; row < c.end[h]; ++row) {
      c.score[size_t(i * c.stride + row)] = draw_score(kind, random);
    }
  }
}

}  // namespace winnow::test
