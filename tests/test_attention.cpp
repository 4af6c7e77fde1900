// Attention of the CPU device against the formula in double precision, over ragged rows with masks.
#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>
#include <cstring>

#include "src/cpu/ops.h"
#include "tests/support/numbers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// A layer's rows with any number held by each head, unused entries poisoned.
struct Layer {
  Layer(const ModelConfig& c, const std::vector<int32_t>& held, int64_t n_new, uint64_t seed)
      : config(c), slot(held), ring_rows(held.size(), 0) {
    int64_t entries = 3;  // entries before the first head, which belong to nobody
    for (const int32_t r : held) {
      first.push_back(entries);
      visible.push_back(r + 1);
      entries += r + n_new + 2;
    }
    k = poisoned(entries * c.head_dim);
    v = poisoned(entries * c.head_dim);
    mask.assign(size_t(entries), 0);
    position.assign(size_t(entries), -1);
    TestRandom random(seed);
    for (size_t h = 0; h < held.size(); ++h) {
      for (int64_t r = 0; r < held[h] + n_new; ++r) {
        const int64_t entry = first[h] + r;
        mask[size_t(entry)] = 0xffffffffU;
        for (int64_t d = 0; d < c.head_dim; ++d) {
          k[size_t(entry * c.head_dim + d)] = 2 * random.next();
          v[size_t(entry * c.head_dim + d)] = random.next();
        }
      }
    }
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

  /// The last `rows` visible rows of head h become a ring, of which row `turn` is the newest: each
  /// row moves to where its place is then.
  void make_ring(size_t h, int32_t rows, int32_t turn) {
    const Layer before = *this;
    ring_rows[h] = rows;
    slot[h] = visible[h] - rows + turn;
    for (int64_t r = 0; r < visible[h]; ++r) {
      const int64_t from = first[h] + view().place_of(int64_t(h), r);
      const int64_t to = first[h] + r;
      mask[size_t(to)] = before.mask[size_t(from)];
      for (int64_t d = 0; d < config.head_dim; ++d) {
        k[size_t(to * config.head_dim + d)] = before.k[size_t(from * config.head_dim + d)];
        v[size_t(to * config.head_dim + d)] = before.v[size_t(from * config.head_dim + d)];
      }
    }
  }

  ModelConfig config;
  std::vector<float> k, v;
  std::vector<int32_t> position;
  std::vector<uint32_t> mask;
  std::vector<int64_t> first;
  std::vector<int32_t> slot, visible, ring_rows;
};

ModelConfig shape(int64_t n_heads, int64_t n_kv_heads, int64_t head_dim) {
  ModelConfig c;
  c.n_heads = n_heads;
  c.n_kv_heads = n_kv_heads;
  c.head_dim = head_dim;
  return c;
}

/// softmax(q k^T / sqrt(d)) v, query by query, as it is written.
std::vector<double> naive(const Layer& layer, const std::vector<float>& q, int64_t n,
                          int64_t appended) {
  const ModelConfig& c = layer.config;
  std::vector<double> out(size_t(n * c.q_size()), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t head = 0; head < c.n_heads; ++head) {
      const int64_t h = head / c.group();
      const float* query = &q[size_t((i * c.n_heads + head) * c.head_dim)];
      const int64_t visible = layer.visible[size_t(h)] + appended + i;
      std::vector<std::pair<double, int64_t>> weights;
      double sum = 0;
      double max = -INFINITY;
      for (int64_t r = 0; r < visible; ++r) {
        const int64_t entry = layer.first[size_t(h)] + r;
        if (((layer.mask[size_t(entry)] >> (head % c.group())) & 1U) == 0) continue;
        double score = 0;
        for (int64_t d = 0; d < c.head_dim; ++d) {
          score += double{query[d]} * layer.k[size_t(entry * c.head_dim + d)];
        }
        weights.emplace_back(score / std::sqrt(double(c.head_dim)), entry);
        max = std::max(max, weights.back().first);
      }
      for (auto& [weight, entry] : weights) sum += weight = std::exp(weight - max);
      for (const auto& [weight, entry] : weights) {
        for (int64_t d = 0; d < c.head_dim; ++d) {
          out[size_t((i * c.n_heads + head) * c.head_dim + d)] +=
              weight / sum * layer.v[size_t(entry * c.head_dim + d)];
        }
      }
    }
  }
  return out;
}

double error_of(Layer& layer, int64_t n, int64_t appended, uint64_t seed) {
  const std::vector<float> q = random_floats(n * layer.config.q_size(), seed, 2);
  std::vector<float> out = poisoned(n * layer.config.q_size());
  cpu::attention(layer.config, n, q.data(), layer.view(appended), out.data());
  return nmse(out, naive(layer, q, n, appended));
}

}  // namespace

TEST_CASE("attention equals the formula: MHA, GQA, MQA, odd head sizes, few rows and many") {
  const ModelConfig shapes[] = {shape(1, 1, 2),  shape(4, 4, 6),   shape(6, 2, 64),
                                shape(8, 1, 20), shape(4, 2, 128), shape(2, 1, 256),
                                shape(32, 1, 16)};
  for (const ModelConfig& c : shapes) {
    for (const int64_t n : {1, 2, 5, 33, 150}) {
      CAPTURE(c.n_heads);
      CAPTURE(c.head_dim);
      CAPTURE(n);
      Layer layer(c, std::vector<int32_t>(size_t(c.n_kv_heads), 0), n, 1);
      CHECK(error_of(layer, n, 0, 2) < 1e-10);
    }
  }
}

TEST_CASE("attention over held rows: ragged heads, spans of 512 and blocks of 64 crossed") {
  for (const int64_t n : {1, 4, 5, 70}) {
    Layer layer(shape(6, 3, 16), {0, 700, 1537}, n, 3);
    CAPTURE(n);
    CHECK(error_of(layer, n, 0, 4) < 1e-10);
  }
}

TEST_CASE("a later chunk sees the rows that earlier chunks of the pass appended") {
  for (const int64_t n : {1, 40}) {
    Layer layer(shape(4, 2, 8), {5, 90}, 60 + n, 5);
    CHECK(error_of(layer, n, 60, 6) < 1e-10);
  }
}

TEST_CASE("a query head sees the rows whose mask has its bit, and no others") {
  for (const int64_t n : {1, 3, 9, 80}) {
    Layer layer(shape(6, 2, 16), {300, 130}, n, 7);
    TestRandom random(8);
    for (size_t h = 0; h < 2; ++h) {
      for (int64_t r = 0; r < layer.slot[h]; ++r) {
        layer.mask[size_t(layer.first[h] + r)] =
            static_cast<uint32_t>((random.next() + 1) * 4);  // any of 0..7
      }
    }
    CAPTURE(n);
    CHECK(error_of(layer, n, 0, 9) < 1e-10);
  }
}

TEST_CASE("a query head that sees no row gives zeros, not NaN") {
  for (const int64_t n : {1, 6}) {
    Layer layer(shape(2, 1, 8), {600}, n, 10);
    for (int64_t r = 0; r < layer.slot[0] + n; ++r) layer.mask[size_t(layer.first[0] + r)] = 1;
    const std::vector<float> q = random_floats(n * 16, 11);
    std::vector<float> out = poisoned(n * 16);
    cpu::attention(layer.config, n, q.data(), layer.view(), out.data());
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t d = 0; d < 8; ++d) {
        CHECK(out[size_t(i * 16 + d)] != 0);
        CHECK(out[size_t(i * 16 + 8 + d)] == 0);
      }
    }
  }
}

TEST_CASE("one row over a ring: every turn of it gives what the rows in order give") {
  const ModelConfig c = shape(6, 3, 16);
  const std::vector<float> q = random_floats(c.q_size(), 19, 2);
  for (const int32_t turn : {0, 1, 63, 64, 598, 599}) {
    CAPTURE(turn);
    Layer layer(c, {40, 1400, 599}, 1, 20);  // appending, a ring behind other rows, all a ring
    TestRandom random(21);
    for (size_t h = 0; h < 3; ++h) {
      for (int64_t r = 0; r < layer.slot[h]; ++r) {
        layer.mask[size_t(layer.first[h] + r)] = random.next() < 0 ? 1 : 2;
      }
    }
    const std::vector<double> in_order = naive(layer, q, 1, 0);
    layer.make_ring(1, 600, turn);
    layer.make_ring(2, 600, turn);
    std::vector<float> out = poisoned(c.q_size());
    cpu::attention(c, 1, q.data(), layer.view(), out.data());
    CHECK(nmse(out, in_order) < 1e-10);
    CHECK(nmse(out, naive(layer, q, 1, 0)) < 1e-10);
  }
}

TEST_CASE("a span in which a head sees nothing adds nothing") {
  Layer layer(shape(2, 1, 8), {1100}, 1, 12);
  for (int64_t r = 0; r < 1024; ++r) layer.mask[size_t(layer.first[0] + r)] = 2;
  CHECK(error_of(layer, 1, 0, 13) < 1e-10);
}

TEST_CASE("great scores do not overflow") {
  Layer layer(shape(2, 1, 8), {100}, 6, 14);
  for (float& k : layer.k) k *= 1000;
  CHECK(error_of(layer, 6, 0, 15) < 1e-6);
  CHECK(error_of(layer, 1, 0, 16) < 1e-6);
}

TEST_CASE("attention is the same to the bit when it is run again") {
  Layer layer(shape(6, 2, 64), {900, 20}, 50, 17);
  const std::vector<float> q = random_floats(50 * 6 * 64, 18);
  std::vector<float> a = poisoned(50 * 6 * 64), b = poisoned(50 * 6 * 64);
  cpu::attention(layer.config, 50, q.data(), layer.view(), a.data());
  cpu::attention(layer.config, 50, q.data(), layer.view(), b.data());
  CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST_CASE("attention over held rows that end at, before and after a block of 96") {
  for (const int64_t n : {5, 37}) {
    for (const int32_t held : {91, 95, 96, 97, 191, 192}) {
      CAPTURE(n);
      CAPTURE(held);
      Layer layer(shape(10, 2, 14), {held, 1}, n, 22);
      CHECK(error_of(layer, n, 0, 23) < 1e-10);
    }
  }
}

TEST_CASE("attention of many rows is the same to the bit in any pieces of the prompt") {
  const int64_t n = 131;
  const ModelConfig c = shape(6, 2, 20);
  Layer layer(c, {33, 210}, n, 24);
  const std::vector<float> q = random_floats(n * c.q_size(), 25);
  std::vector<float> whole = poisoned(n * c.q_size());
  cpu::attention(c, n, q.data(), layer.view(), whole.data());
  for (const int64_t piece : {5, 16, 50, 126}) {
    CAPTURE(piece);
    std::vector<float> out = poisoned(n * c.q_size());
    int64_t first = 0;
    for (; n - first >= 5; first += piece) {  // fewer rows are summed in another order
      const int64_t offset = first * c.q_size();
      cpu::attention(c, std::min(piece, n - first), q.data() + offset, layer.view(first),
                     out.data() + offset);
    }
    const auto floats = static_cast<size_t>(std::min(first, n) * c.q_size());
    CHECK(std::memcmp(out.data(), whole.data(), floats * sizeof(float)) == 0);
  }
}

TEST_CASE("attention is the same to the bit on any number of threads") {
  const ModelConfig c = shape(6, 2, 64);
  const int threads_before = omp_get_max_threads();
  for (const int64_t n : {1, 50}) {
    Layer layer(c, {2900, 1020}, n, 26);
    const std::vector<float> q = random_floats(n * c.q_size(), 27);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 7}) {
      CAPTURE(threads);
      omp_set_num_threads(threads);
      std::vector<float> out = poisoned(n * c.q_size());
      cpu::attention(c, n, q.data(), layer.view(), out.data());
      if (first.empty()) first = out;
      CHECK(std::memcmp(out.data(), first.data(), out.size() * sizeof(float)) == 0);
    }
  }
  omp_set_num_threads(threads_before);
}
