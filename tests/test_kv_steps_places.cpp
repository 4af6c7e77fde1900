// Where K/V rows lie on the CPU device: qkv() writes the row at slot, rotate_rows() turns rows to
// their places in the cache, gather_rows() moves them, advance() goes on to the next.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <utility>

#include "src/cpu/cpu_device.h"
#include "src/cpu/ops.h"
#include "tests/support/kv_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

ModelConfig with_hidden_size(ModelConfig c, int64_t hidden_size) {
  c.hidden_size = hidden_size;
  c.intermediate_size = hidden_size;
  c.rms_norm_eps = 1e-5F;
  return c;
}

/// rope() of one head, in double precision.  x [head_dim]
std::vector<double> naive_rope(const double* x, int64_t place, const ModelConfig& c) {
  const int64_t half = c.head_dim / 2;
  std::vector<double> y(size_t(c.head_dim));
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim);
    const double angle = static_cast<double>(place) * std::pow(c.rope_theta, exponent);
    y[size_t(i)] = x[i] * std::cos(angle) - x[i + half] * std::sin(angle);
    y[size_t(i + half)] = x[i + half] * std::cos(angle) + x[i] * std::sin(angle);
  }
  return y;
}

/// One call of qkv() with random weights: what it read, and what it must have computed.
struct QkvCall {
  QkvCall(const ModelConfig& c, int64_t n_rows) : config(c), n(n_rows) {
    for (int64_t i = 0; i < n; ++i) position.push_back(static_cast<int32_t>(1000 + 3 * i));
  }

  void run(const KvRows& kv) {
    const auto device = make_cpu_device(config, 2);
    std::vector<float> workspace =
        poisoned(static_cast<int64_t>(device->workspace_bytes(n) / sizeof(float)));
    LayerWeights w;
    w.attention_norm = norm.data();
    w.qkv = {weight.data(), DType::kF32, config.qkv_size(), config.hidden_size};
    const Batch batch{.n = n, .position = position.data(), .x = x.data()};
    device->qkv(w, batch, {.q = q.data(), .workspace = workspace.data()}, kv);
  }

  /// rmsnorm(x) Wqkv^T of batch row i, not rotated: [qkv_size]
  std::vector<double> product(int64_t i) const {
    const float* row = &x[size_t(i * config.hidden_size)];
    double square = 0;
    for (int64_t j = 0; j < config.hidden_size; ++j) square += double{row[j]} * row[j];
    const double mean = square / static_cast<double>(config.hidden_size);
    const double scale = 1 / std::sqrt(mean + double{config.rms_norm_eps});
    std::vector<double> y(size_t(config.qkv_size()), 0.0);
    for (size_t o = 0; o < y.size(); ++o) {
      for (int64_t j = 0; j < config.hidden_size; ++j) {
        y[o] +=
            row[j] * scale * norm[size_t(j)] * weight[o * size_t(config.hidden_size) + size_t(j)];
      }
    }
    return y;
  }

  ModelConfig config;
  int64_t n;
  std::vector<int32_t> position;
  std::vector<float> x = random_floats(n * config.hidden_size, 21);
  std::vector<float> norm = random_floats(config.hidden_size, 22);
  std::vector<float> weight = random_floats(config.qkv_size() * config.hidden_size, 23);
  std::vector<float> q = poisoned(n * config.q_size());
};

std::vector<float> part(const std::vector<float>& values, int64_t first, int64_t n) {
  return {values.begin() + first, values.begin() + first + n};
}

/// Runs qkv() on n rows after `appended` others, and checks every entry of the layer: those of the
/// new rows hold what they should, all others what they held.
void check_qkv(TestLayer& layer, int64_t n, int64_t appended, bool in_cache) {
  const ModelConfig& c = layer.config;
  const TestLayer before = layer;
  QkvCall call(c, n);
  const KvRows kv = in_cache ? layer.view_in_cache(appended) : layer.view(appended);
  call.run(kv);
  TestLayer others = layer;  // with the new rows made what they were
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<double> product = call.product(i);
    for (int64_t h = 0; h < c.n_kv_heads; ++h) {
      const int64_t place =
          in_cache ? layer.visible[size_t(h)] + appended + i - 1 : call.position[size_t(i)];
      for (int64_t head = h * c.group(); head < (h + 1) * c.group(); ++head) {
        const auto expected = naive_rope(&product[size_t(head * c.head_dim)], place, c);
        CHECK(nmse(part(call.q, (i * c.n_heads + head) * c.head_dim, c.head_dim), expected) < 1e-8);
      }
      const double* k = &product[size_t(c.q_size() + h * c.head_dim)];
      const double* v = k + c.kv_size();
      const int64_t entry = layer.first[size_t(h)] + layer.slot[size_t(h)] + appended + i;
      const int64_t at = entry * c.head_dim;
      CHECK(nmse(part(layer.k, at, c.head_dim), naive_rope(k, place, c)) < 1e-8);
      CHECK(nmse(part(layer.v, at, c.head_dim), std::vector<double>(v, v + c.head_dim)) < 1e-10);
      if (in_cache) {
        CHECK(nmse(part(layer.k_plain, at, c.head_dim), std::vector<double>(k, k + c.head_dim)) <
              1e-10);
      }
      CHECK(layer.position[size_t(entry)] == call.position[size_t(i)]);
      CHECK(layer.mask[size_t(entry)] == kSeenByAll);
      std::copy_n(&before.k[size_t(at)], c.head_dim, &others.k[size_t(at)]);
      std::copy_n(&before.v[size_t(at)], c.head_dim, &others.v[size_t(at)]);
      if (in_cache)
        std::copy_n(&before.k_plain[size_t(at)], c.head_dim, &others.k_plain[size_t(at)]);
      others.position[size_t(entry)] = before.position[size_t(entry)];
      others.mask[size_t(entry)] = before.mask[size_t(entry)];
    }
  }
  CHECK(same_bits(others.k, before.k));
  CHECK(same_bits(others.v, before.v));
  CHECK(same_bits(others.k_plain, before.k_plain));
  CHECK(others.position == before.position);
  CHECK(others.mask == before.mask);
}

/// Rows of a head from the oldest to the newest, as a model of what advance() does.
struct AgingHead {
  int32_t held;  // rows before the first step
  int32_t ring;
  std::deque<int32_t> by_age;

  AgingHead(int32_t n, int32_t ring_rows) : held(n), ring(ring_rows) {
    for (int32_t r = 0; r < n; ++r) by_age.push_back(r);
  }
  /// The next row comes: behind the others, or over the oldest of the ring.
  int32_t take_next() {
    int32_t row = static_cast<int32_t>(by_age.size());
    if (ring > 0) {
      const auto oldest = by_age.end() - ring;
      row = *oldest;
      by_age.erase(oldest);
    }
    by_age.push_back(row);
    return row;
  }
};

/// gather_rows() between layers of which either may have plain keys.
void check_gather(const ModelConfig& c, const std::vector<int32_t>& held, bool from_plain,
                  bool to_plain, bool new_masks) {
  TestLayer from(c, held, 1, 7);
  TestKept kept = choose_rows(c, held, 8);
  TestLayer to(c, kept.count, 1);
  TestLayer expected = to;
  const bool plain = from_plain && to_plain;
  for (size_t h = 0; h < held.size(); ++h) {
    for (int64_t i = 0; i < kept.count[h]; ++i) {
      const size_t at = h * size_t(kept.stride) + size_t(i);
      const auto source = size_t(from.first[h] + kept.row[at]);
      const auto target = size_t(to.first[h] + i);
      for (size_t d = 0; d < size_t(c.head_dim); ++d) {
        const size_t s = source * size_t(c.head_dim) + d, t = target * size_t(c.head_dim) + d;
        (plain ? expected.k_plain : expected.k)[t] = (plain ? from.k_plain : from.k)[s];
        expected.v[t] = from.v[s];
      }
      expected.position[target] = from.position[source];
      expected.mask[target] = new_masks ? kept.mask[at] : from.mask[source];
    }
  }
  KeptRows view = kept.view();
  if (!new_masks) view.mask = nullptr;
  make_cpu_device(c, 2)->gather_rows(from_plain ? from.view_in_cache() : from.view(), view,
                                     to_plain ? to.view_in_cache() : to.view());
  CHECK(same_bits(to.k, expected.k));
  CHECK(same_bits(to.v, expected.v));
  CHECK(same_bits(to.k_plain, expected.k_plain));
  CHECK(to.position == expected.position);
  CHECK(to.mask == expected.mask);
}

}  // namespace

TEST_CASE("qkv writes its rows at slot, turned to their place in the text, and nothing else") {
  for (const ModelConfig& shape : attention_shapes()) {
    const ModelConfig c = with_hidden_size(shape, 24);
    CAPTURE(c.n_heads);
    CAPTURE(c.n_kv_heads);
    std::vector<int32_t> held(size_t(c.n_kv_heads), 4);
    held[0] = 9;
    TestLayer one(c, held, 1, 24), many(c, held, 12, 25), ring(c, held, 1, 26);
    check_qkv(one, 1, 0, false);
    check_qkv(many, 5, 7, false);
    ring.make_ring(0, 3, 1);
    check_qkv(ring, 1, 0, false);
  }
}

TEST_CASE("qkv for rows at their place in the cache: each head's own, and plain keys beside") {
  for (const ModelConfig& shape : attention_shapes()) {
    const ModelConfig c = with_hidden_size(shape, 24);
    CAPTURE(c.n_heads);
    CAPTURE(c.n_kv_heads);
    std::vector<int32_t> held(size_t(c.n_kv_heads), 4);
    held.back() = 900;
    TestLayer one(c, held, 1, 27), many(c, held, 12, 28), ring(c, held, 1, 29);
    check_qkv(one, 1, 0, true);
    check_qkv(many, 5, 7, true);
    ring.make_ring(0, 4, 0);
    check_qkv(ring, 1, 0, true);
  }
}

TEST_CASE("rotate_rows turns plain keys to their places, also in a ring, and nothing else") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const int32_t turn : {0, 1, 6}) {
      CAPTURE(c.n_kv_heads);
      CAPTURE(turn);
      std::vector<int32_t> held(size_t(c.n_kv_heads), 7);
      held[0] = 3000;
      held.back() = c.n_kv_heads == 1 ? 3000 : 0;
      TestLayer layer(c, held, 1, 30);
      layer.make_ring(0, 7, turn);
      TestLayer expected = layer;
      std::vector<float> cos_sin(size_t(c.head_dim));
      for (size_t h = 0; h < held.size(); ++h) {
        for (int64_t r = 0; r < held[h]; ++r) {
          const int64_t place = layer.view().place_of(int64_t(h), r);
          const size_t at = size_t((layer.first[h] + r) * c.head_dim);
          cpu::rope_angles(static_cast<int32_t>(place), rope_frequencies(c, 0), c.head_dim,
                           cos_sin.data());
          cpu::rope(&layer.k_plain[at], cos_sin.data(), 1, c.head_dim, &expected.k[at]);
        }
        const size_t at_slot = size_t((layer.first[h] + layer.slot[h]) * c.head_dim);
        std::fill_n(&expected.k[at_slot], c.head_dim, 0.0F);  // this row may hold anything
      }
      make_cpu_device(c, 2)->rotate_rows(layer.view_in_cache());
      for (size_t h = 0; h < held.size(); ++h) {
        const size_t at_slot = size_t((layer.first[h] + layer.slot[h]) * c.head_dim);
        std::fill_n(&layer.k[at_slot], c.head_dim, 0.0F);
      }
      CHECK(same_bits(layer.k, expected.k));
      CHECK(same_bits(layer.k_plain, expected.k_plain));
      CHECK(same_bits(layer.v, expected.v));
    }
  }
}

TEST_CASE("gathered rows keep key, value, position and mask together; nothing else is written") {
  for (const ModelConfig& c : attention_shapes()) {
    CAPTURE(c.n_kv_heads);
    std::vector<int32_t> held(size_t(c.n_kv_heads), 5);
    held[0] = 4500;
    held.back() = c.n_kv_heads == 1 ? 4500 : 0;
    check_gather(c, held, false, false, true);
    check_gather(c, held, false, false, false);
  }
}

TEST_CASE("gathered keys are plain where both caches have them, else turned") {
  const ModelConfig c = attention_shape(6, 2, 10);
  check_gather(c, {40, 3}, true, true, true);
  check_gather(c, {40, 3}, true, false, true);
  check_gather(c, {40, 3}, false, true, true);
}

TEST_CASE("advance appends rows, or goes round a ring: the next row is always its oldest") {
  const ModelConfig c = attention_shape(1, 1, 2);
  const auto device = make_cpu_device(c, 2);
  std::vector<AgingHead> heads = {{0, 0}, {5, 0}, {5, 1}, {5, 3}, {5, 5}, {1, 1}, {900, 7}};
  std::vector<int32_t> slot, visible, ring_rows;
  for (const AgingHead& head : heads) {
    slot.push_back(head.ring > 0 ? head.held - head.ring : head.held);
    visible.push_back(head.ring > 0 ? head.held : head.held + 1);
    ring_rows.push_back(head.ring);
  }
  int32_t position = 41;
  int32_t stopped = 0;
  const StepState state{.position = &position,
                        .stopped = &stopped,
                        .slot = slot.data(),
                        .visible = visible.data(),
                        .ring_rows = ring_rows.data(),
                        .n_counts = static_cast<int64_t>(heads.size()) - 1};  // not the last
  for (int step = 0; step < 20; ++step) {
    CAPTURE(step);
    const KvRows kv{.slot = slot.data(), .visible = visible.data(), .ring_rows = ring_rows.data()};
    for (size_t h = 0; h + 1 < heads.size(); ++h) {
      CAPTURE(h);
      CHECK(slot[h] == heads[h].take_next());
      CHECK(visible[h] == static_cast<int32_t>(heads[h].by_age.size()));
      for (size_t age = 0; age < heads[h].by_age.size(); ++age) {
        CHECK(kv.place_of(static_cast<int64_t>(h), heads[h].by_age[age]) ==
              static_cast<int64_t>(age));
      }
    }
    device->advance(state);
    CHECK(position == 42 + step);
  }
  CHECK(slot.back() == 893);
  CHECK(visible.back() == 900);
}
