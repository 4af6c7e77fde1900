// The GPU's rotary positions against cpu::rope: into rows of ragged heads, into rings, to places in
// the text and in the cache. Every output is poisoned, and what no row becomes must stay so.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "src/cpu/ops.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// rope_and_store of n rows into heads that hold 0, 3, 6, ... rows.
struct RopeCase {
  TestLayer layer;
  DType type;
  DType qkv_type;
  bool in_cache;  // rows are rotated to their places there
  int64_t n;
  int64_t appended;
  std::vector<int32_t> places;  // [n] in the text
  Stored qkv;

  RopeCase(const ModelConfig& c, DType t, DType qkv_t, bool places_in_cache, int64_t rows,
           int64_t appended_before, int32_t position)
      : layer(c, held_rows(c), appended_before + rows),
        type(t),
        qkv_type(qkv_t),
        in_cache(places_in_cache),
        n(rows),
        appended(appended_before),
        qkv(qkv_t, random_floats(rows * c.qkv_size(), 8, 2)) {
    for (int64_t i = 0; i < n; ++i) places.push_back(position + int32_t(2 * i));
  }

  static std::vector<int32_t> held_rows(const ModelConfig& c) {
    std::vector<int32_t> held;
    for (int64_t h = 0; h < c.n_kv_heads; ++h) held.push_back(int32_t(h * 3));
    return held;
  }

  /// Heads that hold rows take the next one into a ring.
  void make_rings() {
    for (size_t h = 1; h < layer.slot.size(); ++h) {
      const int32_t rows = layer.slot[h] - 1;
      layer.make_ring(h, rows, int32_t(h) % rows);
    }
  }

  int64_t entry(int64_t h, int64_t i) const {
    return layer.first[size_t(h)] + layer.slot[size_t(h)] + appended + i;
  }
  int32_t place(int64_t h, int64_t i) const {
    const int64_t last = layer.visible[size_t(h)] + appended + i - 1;
    return in_cache ? int32_t(last) : places[size_t(i)];
  }
};

std::vector<float> rounded(DType type, const float* values, int64_t n) {
  return Stored(type, std::vector<float>(values, values + n)).values;
}

/// What must be there afterwards: `layer` changes, and so does q [n, n_heads, head_dim].
void rope_on_cpu(RopeCase& c, std::vector<float>& q) {
  const ModelConfig& shape = c.layer.config;
  const int64_t d = shape.head_dim;
  std::vector<float> angles(static_cast<size_t>(d));
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
      cpu::rope_angles(c.place(h, i), rope_frequencies(shape, 0), d, angles.data());
      const float* row = &c.qkv.values[size_t(i * shape.qkv_size())];
      const int64_t queries = h * shape.group() * d;
      cpu::rope(row + queries, angles.data(), shape.group(), d,
                &q[size_t(i * shape.q_size() + queries)]);
      const float* k = row + shape.q_size() + h * d;
      const auto at = size_t(c.entry(h, i) * d);
      std::copy_n(k + shape.kv_size(), d, &c.layer.v[at]);
      std::vector<float> key(k, k + d);
      if (c.in_cache) {
        key = rounded(c.type, k, d);
        std::copy_n(key.data(), d, &c.layer.k_plain[at]);
      }
      cpu::rope(key.data(), angles.data(), 1, d, &c.layer.k[at]);
      c.layer.position[size_t(c.entry(h, i))] = c.places[size_t(i)];
      c.layer.mask[size_t(c.entry(h, i))] = kSeenByAll;
    }
  }
}

/// Whether rotate_rows makes of the plain keys what rope_and_store left, to the bit, once the next
/// row is the newest. Not for rings.
void check_rotated_again(const RopeCase& c, const GpuLayer& rows) {
  TestLayer later = c.layer;
  for (size_t h = 0; h < later.slot.size(); ++h) {
    later.slot[h] += int32_t(c.appended + c.n);
    later.visible[h] = later.slot[h] + 1;
  }
  later.k = poisoned(int64_t(later.k.size()));
  const GpuLayer again(later, c.type);
  KvRows kv = again.view();
  kv.k_plain = rows.k_plain.data();
  cuda::rotate_rows(kv, cuda::heads_of(later.config), c.type, rope_frequencies(later.config, 0),
                    nullptr);
  CHECK(same(again.numbers(again.k, c.type), rows.numbers(rows.k, c.type)));
}

void check(RopeCase c) {
  const ModelConfig& shape = c.layer.config;
  CAPTURE(std::string(dtype_name(c.type)));
  CAPTURE(std::string(dtype_name(c.qkv_type)));
  CAPTURE(shape.head_dim);
  CAPTURE(c.in_cache);
  CAPTURE(c.n);
  const GpuLayer rows(c.layer, c.type);
  const DeviceBuffer in(c.qkv.bytes), places(raw_bytes(c.places));
  const DeviceBuffer q(size_t(c.n * shape.q_size()) * dtype_size(c.type));
  KvRows kv = c.in_cache ? rows.view_in_cache() : rows.view();
  kv.appended = c.appended;
  const Batch batch{.n = c.n, .token = nullptr, .position = places.as<int32_t>(), .x = nullptr};
  cuda::rope_and_store({.type = c.type,
                        .qkv_type = c.qkv_type,
                        .qkv = in.data(),
                        .q = q.data(),
                        .batch = batch,
                        .heads = cuda::heads_of(shape),
                        .kv = kv},
                       rope_frequencies(shape, 0), nullptr);
  const bool rings = c.layer.ring_rows.back() > 0;
  if (c.in_cache && !rings) check_rotated_again(c, rows);

  std::vector<float> expected_q = poisoned(c.n * shape.q_size());
  rope_on_cpu(c, expected_q);
  CHECK(nmse_of_finite(q.floats(c.type), expected_q) < tolerance(c.type));
  CHECK(nmse_of_finite(rows.numbers(rows.k, c.type), c.layer.k) < tolerance(c.type));
  CHECK(nmse_of_finite(rows.numbers(rows.v, c.type), c.layer.v) < tolerance(c.type));
  const std::vector<float> plain = rows.numbers(rows.k_plain, c.type);
  CHECK(same(plain, c.layer.k_plain));
  CHECK(rows.position.values<int32_t>() == c.layer.position);
  CHECK(rows.mask.values<uint32_t>() == c.layer.mask);
}

/// The cases of every type and layout, for places in the text or in the cache.
template <class F>
void for_layouts(F&& f) {
  for (const DType type : kTypes) {
    for (const DType qkv_type : kTypes) {
      if (qkv_type != type && qkv_type != DType::kF32) continue;
      for (const ModelConfig& c :
           {attention_shape(1, 1, 2), attention_shape(4, 4, 6), attention_shape(6, 2, 64),
            attention_shape(8, 1, 20), attention_shape(3, 3, 256), attention_shape(14, 2, 80)}) {
        f(c, type, qkv_type);
      }
    }
  }
}

}  // namespace

TEST_CASE("GPU: rope turns q and k and puts k and v into their rows, and writes nowhere else") {
  NEEDS_GPU();
  for_layouts([](const ModelConfig& c, DType type, DType qkv_type) {
    check(RopeCase(c, type, qkv_type, false, 1, 0, 0));
    check(RopeCase(c, type, qkv_type, false, 17, 5, 3));
    check(RopeCase(c, type, qkv_type, false, 3, 0, 1'000'000));
  });
}

TEST_CASE("GPU: rope to places in the cache: each head's own, and plain keys beside") {
  NEEDS_GPU();
  for_layouts([](const ModelConfig& c, DType type, DType qkv_type) {
    check(RopeCase(c, type, qkv_type, true, 1, 0, 0));
    check(RopeCase(c, type, qkv_type, true, 17, 900, 3));
    check(RopeCase(c, type, qkv_type, true, 3, 0, 1'000'000));
  });
}

TEST_CASE("GPU: rope puts the next row of a ring over its oldest") {
  NEEDS_GPU();
  for_layouts([](const ModelConfig& c, DType type, DType qkv_type) {
    for (const bool in_cache : {false, true}) {
      RopeCase ring(c, type, qkv_type, in_cache, 1, 0, 77);
      ring.make_rings();
      check(ring);
    }
  });
}
