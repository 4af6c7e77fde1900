// The steps of decoding that choose rows and pages, slowly and in double precision, over ragged
// heads with masks; and what they read.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "tests/support/kv_steps.h"

namespace winnow::test {

/// A layer through which a batch of `n` rows goes: every head holds some rows and `appended` of the
/// same prompt, behind which the batch's own are the last.
struct SumCase {
  TestLayer layer;
  int64_t n;
  int64_t appended;
  int64_t window;
  std::vector<float> q;      // [n, n_heads, head_dim]
  std::vector<float> score;  // [entries] before; poisoned where there is no row

  SumCase(const ModelConfig& c, const std::vector<int32_t>& held, int64_t rows, int64_t before,
          int64_t text_window, uint64_t seed)
      : layer(c, all_rows(held, rows + before), 2, seed),
        n(rows),
        appended(before),
        window(text_window),
        q(random_floats(rows * c.q_size(), seed + 1, 2)),
        score(poisoned(std::ssize(layer.mask))) {
    TestRandom random(seed + 2);
    for (size_t h = 0; h < held.size(); ++h) {
      layer.slot[h] = held[h];
      layer.visible[h] = held[h] + 1;
      const int64_t all = held[h] + rows + before;
      for (int64_t r = 0; r < all; ++r) {
        const auto entry = size_t(layer.first[h] + r);
        layer.position[entry] = int32_t(2 * r);  // places with gaps, as a selection leaves them
        score[entry] = 3 * (random.next() + 1);
        if (r >= held[h]) layer.mask[entry] = kSeenByAll;  // as qkv() stores a row
      }
    }
  }

  static std::vector<int32_t> all_rows(std::vector<int32_t> held, int64_t more) {
    for (int32_t& rows : held) rows += int32_t(more);
    return held;
  }

  KvRows view() {
    KvRows kv = layer.view(appended);
    kv.window = window;
    kv.score = score.data();
    kv.capacity = 0;
    for (const int32_t rows : layer.visible) {
      kv.capacity = std::max<int64_t>(kv.capacity, rows - 1 + n + appended);
    }
    return kv;
  }

  int64_t seen_by(size_t h, int64_t i) const { return layer.visible[h] + appended + i; }

  /// Row r's score in base e for a query, or -infinity where it is hidden.
  double logit(int64_t head, int64_t i, int64_t r) const {
    const ModelConfig& c = layer.config;
    const auto h = size_t(head / c.group());
    const auto entry = size_t(layer.first[h] + r);
    const auto own = size_t(layer.first[h] + layer.slot[h] + appended + i);
    const bool inside = window == 0 || layer.position[entry] > layer.position[own] - window;
    if (!layer.sees(head, r) || !inside) return -INFINITY;
    double sum = 0;
    for (int64_t d = 0; d < c.head_dim; ++d) {
      sum += double{q[size_t((i * c.n_heads + head) * c.head_dim + d)]} *
             layer.k[entry * size_t(c.head_dim) + size_t(d)];
    }
    return sum / std::sqrt(double(c.head_dim));
  }

  /// lse [n_heads, n] in base 2, and the scores after the step.
  std::pair<std::vector<double>, std::vector<double>> naive() const {
    const ModelConfig& c = layer.config;
    std::vector<double> lse(size_t(c.n_heads * n));
    std::vector<double> sums(score.begin(), score.end());
    for (int64_t head = 0; head < c.n_heads; ++head) {
      const auto h = size_t(head / c.group());
      for (int64_t i = 0; i < n; ++i) {
        std::vector<double> weight;
        for (int64_t r = 0; r < seen_by(h, i); ++r) weight.push_back(std::exp(logit(head, i, r)));
        const double sum = std::accumulate(weight.begin(), weight.end(), 0.0);
        lse[size_t(head * n + i)] = std::log2(sum);
        for (size_t r = 0; r < weight.size(); ++r) {
          sums[size_t(layer.first[h]) + r] += weight[r] / sum / double(c.group());
        }
      }
    }
    return {lse, sums};
  }
};

/// Held rows, batch rows, rows before them, window: prompts, chunks, decode steps.
struct SumSizes {
  std::vector<int32_t> held;
  int64_t n, appended, window;
};
inline std::vector<SumSizes> sum_sizes(int64_t n_kv_heads) {
  std::vector<SumSizes> sizes = {{{0}, 70, 0, 0},      {{37, 0, 129}, 67, 0, 0},
                                 {{5, 200}, 9, 40, 0}, {{1, 63, 97, 32}, 1, 0, 0},
                                 {{300}, 130, 100, 0}, {{0, 40}, 90, 0, 50},
                                 {{150, 3}, 1, 0, 64}};
  for (SumSizes& size : sizes) {
    const std::vector<int32_t> some = size.held;
    size.held.clear();
    for (int64_t h = 0; h < n_kv_heads; ++h) size.held.push_back(some[size_t(h) % some.size()]);
  }
  return sizes;
}

/// Heads of full rows whose scores are few numbers, NaN among them, at any places of the text.
struct SlotCase {
  TestLayer layer;
  std::vector<float> score;  // [entries]
  int32_t position = 1000;   // of the token

  SlotCase(const ModelConfig& c, const std::vector<int32_t>& held, uint64_t seed)
      : layer(c, held, 1, seed), score(poisoned(std::ssize(layer.mask))) {
    TestRandom random(seed + 1);
    for (size_t h = 0; h < held.size(); ++h) {
      layer.make_ring(h, held[h], 0);
      std::vector<int32_t> places(1000);
      std::iota(places.begin(), places.end(), 0);
      for (int64_t r = 0; r < held[h]; ++r) {
        std::swap(places[size_t(r)], places[size_t(r + draw(random, 1000 - r))]);
        layer.position[size_t(layer.first[h] + r)] = places[size_t(r)];
        const int64_t number = draw(random, 9);
        score[size_t(layer.first[h] + r)] = number == 8 ? NAN : float(number) / 4;
      }
    }
  }

  KvRows view() {
    KvRows kv = layer.view();
    kv.score = score.data();
    return kv;
  }

  int32_t naive(size_t h, int64_t recent) const {
    std::vector<std::pair<std::pair<float, int32_t>, int32_t>> candidates, all;
    for (int32_t r = 0; r < layer.visible[h]; ++r) {
      const auto entry = size_t(layer.first[h] + r);
      const int32_t place = layer.position[entry];
      all.push_back({{0, place}, r});
      if (place >= position - recent || std::isnan(score[entry])) continue;
      candidates.push_back({{score[entry], place}, r});
    }
    const auto& from = candidates.empty() ? all : candidates;
    return std::min_element(from.begin(), from.end())->second;
  }
};

/// Heads in a decode step over pages. Head h holds held[h] rows before it.
struct PageCase {
  TestLayer layer;
  int64_t n_read;
  int64_t window;
  std::vector<float> q;     // [n_heads, head_dim]
  std::vector<float> keys;  // [pages, 2, head_dim]
  TestLists lists;
  std::vector<int32_t> zone;
  std::vector<uint32_t> mask;

  PageCase(const ModelConfig& c, const std::vector<int32_t>& held, int64_t pages,
           int64_t text_window, uint64_t seed)
      : layer(c, SumCase::all_rows(held, 1), 2, seed),
        n_read(pages),
        window(text_window),
        q(random_floats(c.q_size(), seed + 1, 2)),
        keys(poisoned(pages_of(std::ssize(layer.mask), c.n_kv_heads) * 2 * c.head_dim)),
        lists(c.n_heads, most(held) / kPageRows + 1),
        zone(size_t(3 * c.n_kv_heads), -9),
        mask(layer.mask.size(), TestLayer::kNoMask) {
    for (size_t h = 0; h < held.size(); ++h) {
      layer.slot[h] = held[h];
      layer.visible[h] = held[h] + 1;
      for (int32_t r = 0; r <= held[h]; ++r) layer.position[size_t(layer.first[h] + r)] = r;
    }
  }

  static int64_t most(const std::vector<int32_t>& held) {
    return *std::max_element(held.begin(), held.end());
  }

  KvRows view() {
    KvRows kv = layer.view();
    kv.window = window;
    kv.capacity = most(layer.visible);
    kv.pages = {.keys = keys.data(),
                .n_read = n_read,
                .score = lists.score.data(),
                .stride = lists.stride,
                .cut = lists.cut.data(),
                .zone = zone.data(),
                .mask = mask.data()};
    return kv;
  }

  /// The masks of all entries, found from the rows alone.
  std::vector<uint32_t> naive() const {
    const ModelConfig& c = layer.config;
    std::vector<uint32_t> masks(layer.mask.size(), TestLayer::kNoMask);
    for (int64_t h = 0; h < c.n_kv_heads; ++h) {
      const int64_t n = layer.visible[size_t(h)];
      for (int64_t r = 0; r < n; ++r) masks[entry(h, r)] = 0;
      for (int64_t g = 0; g < c.group(); ++g) {
        for (const int64_t page : pages_read(h, g)) {
          for (int64_t r = page * 16; r < std::min(page * 16 + 16, n); ++r) {
            masks[entry(h, r)] |= layer.mask[entry(h, r)] & (1U << g);
          }
        }
      }
      const int64_t last = (n - 1) / 16 * 16;  // bits of no query head are as they were there
      for (int64_t r = last; r < n; ++r) masks[entry(h, r)] = layer.mask[entry(h, r)];
    }
    return masks;
  }

 private:
  size_t entry(int64_t h, int64_t r) const { return size_t(layer.first[size_t(h)] + r); }

  std::vector<int64_t> pages_read(int64_t h, int64_t g) const {
    const ModelConfig& c = layer.config;
    const int64_t n = layer.visible[size_t(h)];
    std::vector<std::pair<double, int64_t>> order;
    for (int64_t page = 0; page < (n - 1) / 16; ++page) {
      if (window > 0 && page * 16 + 15 <= n - 1 - window) continue;
      double sum = 0;
      for (int64_t d = 0; d < c.head_dim; ++d) {
        double greatest = -INFINITY;
        for (int64_t r = page * 16; r < page * 16 + 16; ++r) {
          greatest = std::max(greatest, double{q[size_t((h * c.group() + g) * c.head_dim + d)]} *
                                            layer.k[entry(h, r) * size_t(c.head_dim) + size_t(d)]);
        }
        sum += greatest;
      }
      order.emplace_back(-sum, page);
    }
    std::ranges::sort(order);
    std::vector<int64_t> read = {(n - 1) / 16};
    for (size_t i = 0; i < order.size() && int64_t(i) < n_read - 1; ++i) {
      read.push_back(order[i].second);
    }
    return read;
  }
};

}  // namespace winnow::test
