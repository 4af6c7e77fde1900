// What the steps over K/V rows read and write (tests/support/kv_steps.h), in device memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/kernels.h"
#include "tests/gpu/buffers.h"
#include "tests/support/kv_steps.h"

namespace winnow::test {

/// Layouts that the kernels treat in different ways: MHA, GQA, MQA; whole packs and odd heads.
inline std::vector<ModelConfig> gpu_shapes() {
  return {attention_shape(3, 3, 6),    attention_shape(8, 2, 10),  attention_shape(14, 2, 64),
          attention_shape(4, 4, 64),   attention_shape(12, 3, 80), attention_shape(8, 2, 128),
          attention_shape(3, 3, 128),  attention_shape(7, 1, 72),  attention_shape(6, 1, 256),
          attention_shape(32, 1, 128), attention_shape(2, 2, 250), attention_shape(64, 2, 2)};
}

/// Rows for every head: none, one, few, and tiles of all sizes crossed.
inline std::vector<int32_t> ragged_rows(const ModelConfig& c) {
  if (c.n_kv_heads == 1) return {2309};
  const int32_t rows[] = {1537, 0, 1, 37};
  std::vector<int32_t> held(rows, rows + std::min<int64_t>(c.n_kv_heads, 4));
  held.resize(size_t(c.n_kv_heads), 5);
  return held;
}

inline int32_t most_of(const std::vector<int32_t>& rows) {
  return *std::max_element(rows.begin(), rows.end());
}

/// `values` stored as `type`; a NaN as a poisoned element.
inline std::string encode_poisoned(DType type, std::vector<float> values) {
  std::vector<size_t> holes;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isnan(values[i])) continue;
    holes.push_back(i);
    values[i] = 0;
  }
  std::string bytes = encode(type, values);
  const size_t element = dtype_size(type);
  for (const size_t i : holes) std::memset(&bytes[i * element], 0xff, element);
  return bytes;
}

/// The layer's numbers become what is left of them in `type`, for the host's side of a comparison.
inline void round_to(DType type, TestLayer& layer) {
  for (std::vector<float>* rows : {&layer.k, &layer.v, &layer.k_plain}) {
    *rows = decode({"", type, {rows->size()}, encode_poisoned(type, *rows)});
  }
}

/// Whether two lists are the same, NaN being the same as NaN.
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](T x, T y) { return x == y || (x != x && y != y); });
}

/// NMSE of the finite numbers; NaN where one has a NaN or an infinity and the other has not.
template <class A, class E>
double nmse_of_finite(const A& actual, const E& expected) {
  std::vector<double> a, e;
  for (size_t i = 0; i < std::size(expected); ++i) {
    const double x = actual[i], y = expected[i];
    if (std::isfinite(x) && std::isfinite(y)) {
      a.push_back(x);
      e.push_back(y);
    } else if (!(x == y || (std::isnan(x) && std::isnan(y)))) {
      return NAN;
    }
  }
  return nmse(a, e);
}

/// The rows of a layer as `type`. `shift`: bytes by which rows start later than a multiple of 16.
struct GpuLayer {
  GpuLayer(const TestLayer& layer, DType row_type, size_t shift_bytes = 0)
      : shift(shift_bytes),
        capacity(most_of(layer.visible)),
        entries(std::ssize(layer.mask)),
        k(std::string(shift, '\xff') + encode_poisoned(row_type, layer.k)),
        v(std::string(shift, '\xff') + encode_poisoned(row_type, layer.v)),
        k_plain(std::string(shift, '\xff') + encode_poisoned(row_type, layer.k_plain)),
        position(raw_bytes(layer.position)),
        mask(raw_bytes(layer.mask)),
        first(raw_bytes(layer.first)),
        slot(raw_bytes(layer.slot)),
        visible(raw_bytes(layer.visible)),
        ring_rows(raw_bytes(layer.ring_rows)) {}

  KvRows view() const {
    return {.k = k.as<std::byte>() + shift,
            .v = v.as<std::byte>() + shift,
            .position = position.as<int32_t>(),
            .mask = mask.as<uint32_t>(),
            .k_plain = nullptr,
            .first = first.as<int64_t>(),
            .slot = slot.as<int32_t>(),
            .visible = visible.as<int32_t>(),
            .ring_rows = ring_rows.as<int32_t>(),
            .capacity = capacity,
            .entries = entries};
  }
  KvRows view_in_cache() const {
    KvRows kv = view();
    kv.k_plain = k_plain.as<std::byte>() + shift;
    return kv;
  }
  std::vector<float> numbers(const DeviceBuffer& rows, DType type) const {
    const std::string content = rows.download().substr(shift);
    return decode({"", type, {content.size() / dtype_size(type)}, content});
  }

  size_t shift;
  int64_t capacity;
  int64_t entries;
  DeviceBuffer k, v, k_plain, position, mask, first, slot, visible, ring_rows;
};

struct GpuZones {
  explicit GpuZones(const TestZones& zones)
      : max_rows(zones.view().max_rows),
        rows(raw_bytes(zones.rows)),
        begin(raw_bytes(zones.begin)),
        end(raw_bytes(zones.end)),
        k(raw_bytes(zones.k)),
        seen(raw_bytes(zones.seen.empty() ? zones.rows : zones.seen)) {}

  Zones view() const {
    return {.rows = rows.as<int32_t>(),
            .begin = begin.as<int32_t>(),
            .end = end.as<int32_t>(),
            .k = k.as<int32_t>(),
            .max_rows = max_rows,
            .seen = seen.as<int32_t>()};
  }

  int64_t max_rows;
  DeviceBuffer rows, begin, end, k, seen;
};

struct GpuLists {
  explicit GpuLists(const TestLists& lists)
      : n(lists.n),
        stride(lists.stride),
        score(raw_bytes(lists.score)),
        cut(raw_bytes(lists.cut)) {}

  ScoreLists view() const {
    return {.n = n, .stride = stride, .score = score.as<float>(), .cut = cut.as<Cut>()};
  }

  int64_t n;
  int64_t stride;
  DeviceBuffer score, cut;
};

struct GpuKept {
  explicit GpuKept(const TestKept& kept)
      : stride(kept.stride),
        row(raw_bytes(kept.row)),
        mask(raw_bytes(kept.mask)),
        count(raw_bytes(kept.count)) {}

  KeptRows view() const {
    return {.stride = stride,
            .row = row.as<int32_t>(),
            .mask = mask.as<uint32_t>(),
            .count = count.as<int32_t>()};
  }

  int64_t stride;
  DeviceBuffer row, mask, count;
};

}  // namespace winnow::test
