// What the steps over K/V rows read and write, in host memory, all that is not filled poisoned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "src/device.h"
#include "tests/support/numbers.h"
#include "tests/support/shown.h"

namespace winnow::test {

inline ModelConfig attention_shape(int64_t n_heads, int64_t n_kv_heads, int64_t head_dim) {
  ModelConfig c;
  c.n_heads = n_heads;
  c.n_kv_heads = n_kv_heads;
  c.head_dim = head_dim;
  c.rope_theta = 10000;
  return c;
}

/// MHA, GQA, MQA, odd head sizes, full masks.
inline std::vector<ModelConfig> attention_shapes() {
  return {attention_shape(3, 3, 6),  attention_shape(6, 2, 10),  attention_shape(8, 1, 64),
          attention_shape(15, 3, 2), attention_shape(32, 1, 16), attention_shape(1, 1, 256)};
}

/// Whole numbers in [0, below) out of TestRandom.
inline int64_t draw(TestRandom& random, int64_t below) {
  const double u = (double{random.next()} + 1) / 2;
  return std::min(static_cast<int64_t>(u * static_cast<double>(below)), below - 1);
}

/// Any 32 bits. (One number of TestRandom has 24 that are random.)
inline uint32_t bits(TestRandom& random) {
  const auto upper = static_cast<uint32_t>(draw(random, 1 << 16));
  return upper << 16 | static_cast<uint32_t>(draw(random, 1 << 16));
}

/// A layer's rows with any number held by each head; entries that no row is at are poisoned.
struct TestLayer {
  static constexpr int32_t kNoPosition = -1;
  static constexpr uint32_t kNoMask = 0xdeadbeefU;

  /// Head h holds held[h] rows and has room for `spare` more.
  TestLayer(const ModelConfig& c, const std::vector<int32_t>& held, int64_t spare, uint64_t seed)
      : TestLayer(c, held, spare) {
    TestRandom random(seed);
    for (size_t h = 0; h < held.size(); ++h) {
      for (int64_t r = 0; r < held[h]; ++r) fill_row(first[h] + r, random);
    }
  }

  /// All of it poisoned.
  TestLayer(const ModelConfig& c, const std::vector<int32_t>& held, int64_t spare) : config(c) {
    int64_t entries = 3;  // entries before the first head, which belong to nobody
    for (const int32_t rows : held) {
      first.push_back(entries);
      slot.push_back(rows);
      visible.push_back(rows + 1);
      ring_rows.push_back(0);
      entries += rows + spare + 2;
    }
    k = poisoned(entries * c.head_dim);
    v = k;
    k_plain = k;
    position.assign(size_t(entries), kNoPosition);
    mask.assign(size_t(entries), kNoMask);
  }

  /// Every row of head h is held, the last `rows` of them in a ring; the next overwrites the
  /// `turn`th of those.
  void make_ring(size_t h, int32_t rows, int32_t turn) {
    visible[h] -= 1;
    ring_rows[h] = rows;
    slot[h] = visible[h] - rows + turn;
  }

  KvRows view(int64_t appended = 0) {
    return {.k = k.data(),
            .v = v.data(),
            .position = position.data(),
            .mask = mask.data(),
            .first = first.data(),
            .slot = slot.data(),
            .visible = visible.data(),
            .ring_rows = ring_rows.data(),
            .appended = appended};
  }
  KvRows view_in_cache(int64_t appended = 0) {
    KvRows kv = view(appended);
    kv.k_plain = k_plain.data();
    return kv;
  }

  bool sees(int64_t head, int64_t r) const {
    const int64_t h = head / config.group();
    return ((mask[size_t(first[size_t(h)] + r)] >> (head % config.group())) & 1U) != 0;
  }

  ModelConfig config;
  std::vector<float> k, v, k_plain;               // [entries, head_dim]
  std::vector<int32_t> position;                  // [entries]
  std::vector<uint32_t> mask;                     // [entries]
  std::vector<int64_t> first;                     // [n_kv_heads]
  std::vector<int32_t> slot, visible, ring_rows;  // [n_kv_heads]

 private:
  /// Any position; any mask, every query head seeing about three rows of four.
  void fill_row(int64_t entry, TestRandom& random) {
    for (int64_t d = 0; d < config.head_dim; ++d) {
      k[size_t(entry * config.head_dim + d)] = 2 * random.next();
      v[size_t(entry * config.head_dim + d)] = random.next();
      k_plain[size_t(entry * config.head_dim + d)] = 2 * random.next();
    }
    position[size_t(entry)] = static_cast<int32_t>(bits(random) >> 1);
    mask[size_t(entry)] = bits(random) | bits(random);
  }
};

struct TestZones {
  explicit TestZones(std::vector<int32_t> held)
      : rows(std::move(held)), begin(rows.size(), 0), end(rows), k(rows.size(), 0) {}

  Zones view() const {
    return {.rows = rows.data(),
            .begin = begin.data(),
            .end = end.data(),
            .k = k.data(),
            .max_rows = *std::max_element(rows.begin(), rows.end()),
            .seen = seen.empty() ? nullptr : seen.data()};
  }

  std::vector<int32_t> rows, begin, end, k;  // [n_kv_heads]
  std::vector<int32_t> seen = {};            // [n_kv_heads], or empty: as rows
};

struct TestLists {
  TestLists(int64_t n_lists, int64_t max_rows)
      : n(n_lists),
        stride((max_rows + 3) / 4 * 4 + 4),
        score(poisoned(n * stride)),
        cut(size_t(n), Cut{.score = -1234.5F, .last_tie = -77}) {}

  ScoreLists view() { return {.n = n, .stride = stride, .score = score.data(), .cut = cut.data()}; }
  float* list(int64_t i) { return &score[size_t(i * stride)]; }
  float at(int64_t i, int64_t r) const { return score[size_t(i * stride + r)]; }

  int64_t n;
  int64_t stride;
  std::vector<float> score;  // [n, stride]
  std::vector<Cut> cut;      // [n]
};

struct TestKept {
  TestKept(int64_t n_kv_heads, int64_t max_rows)
      : stride(max_rows + 3),
        row(size_t(n_kv_heads * stride), -9),
        mask(row.size(), TestLayer::kNoMask),
        count(size_t(n_kv_heads), -9) {}

  KeptRows view() {
    return {.stride = stride, .row = row.data(), .mask = mask.data(), .count = count.data()};
  }

  int64_t stride;
  std::vector<int32_t> row;    // [n_kv_heads, stride]
  std::vector<uint32_t> mask;  // [n_kv_heads, stride]
  std::vector<int32_t> count;  // [n_kv_heads]
};

/// Rows by chance out of heads that hold `held`, their masks too.
inline TestKept choose_rows(const ModelConfig& c, const std::vector<int32_t>& held, uint64_t seed) {
  TestKept kept(c.n_kv_heads, *std::max_element(held.begin(), held.end()));
  TestRandom random(seed);
  for (size_t h = 0; h < held.size(); ++h) {
    kept.count[h] = 0;
    for (int32_t r = 0; r < held[h]; ++r) {
      if (draw(random, 3) == 0) continue;
      const size_t at = h * size_t(kept.stride) + size_t(kept.count[h]++);
      kept.row[at] = r;
      kept.mask[at] = bits(random);
    }
  }
  return kept;
}

}  // namespace winnow::test
