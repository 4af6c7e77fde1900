// Attention steps over ragged rows with masks, and what they must give: the formula in double
// precision. Entries that belong to no row are NaN.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/kernels.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/gpu.h"

namespace winnow::test {

/// One attention step: any number of rows held by each head, rows of the pass before the batch's
/// own, and n queries.
struct AttentionCase {
  cuda::Heads heads;
  DType type;
  int64_t n;
  int64_t appended = 0;
  int64_t capacity = 0;            // of the launch
  std::vector<int64_t> first;      // [n_kv_heads], with entries between heads that belong to nobody
  std::vector<int32_t> slot;       // [n_kv_heads]
  std::vector<int32_t> visible;    // [n_kv_heads]
  std::vector<int32_t> ring_rows;  // [n_kv_heads]
  std::vector<uint32_t> mask;      // [entries]
  Stored q, k, v;

  int64_t visible_to(size_t h, int64_t i) const { return visible[h] + appended + i; }
};

inline AttentionCase make_case(const cuda::Heads& heads, DType type, int64_t n,
                               const std::vector<int32_t>& held, int64_t appended, uint64_t seed,
                               float k_scale = 2) {
  std::vector<int64_t> first;
  std::vector<int32_t> visible;
  int64_t entries = 3;
  int64_t capacity = 0;
  for (const int32_t rows : held) {
    first.push_back(entries);
    visible.push_back(rows + 1);
    entries += rows + appended + n + 2;
    capacity = std::max(capacity, rows + appended + n);
  }
  return {.heads = heads,
          .type = type,
          .n = n,
          .appended = appended,
          .capacity = capacity,
          .first = std::move(first),
          .slot = held,
          .visible = std::move(visible),
          .ring_rows = std::vector<int32_t>(held.size(), 0),
          .mask = std::vector<uint32_t>(size_t(entries), 0xffffffffU),
          .q = Stored(type, random_floats(n * heads.q_size(), seed, 2)),
          .k = Stored(type, random_floats(entries * heads.head_dim, seed + 1, k_scale)),
          .v = Stored(type, random_floats(entries * heads.head_dim, seed + 2))};
}

/// Rows per head that cross the kernels' tiles, in turn.
inline std::vector<int32_t> ragged(int64_t n_kv_heads) {
  const int32_t rows[] = {0, 63, 700, 64, 129, 1537, 1};
  std::vector<int32_t> held;
  for (int64_t h = 0; h < n_kv_heads; ++h) held.push_back(rows[h % 7]);
  return held;
}

/// The bytes of `rows` with NaN in every entry that is no row of a head.
inline std::string poison_gaps(const AttentionCase& c, const Stored& rows) {
  std::string bytes(rows.bytes.size(), '\xff');
  const size_t row = size_t(c.heads.head_dim) * dtype_size(c.type);
  for (size_t h = 0; h < c.first.size(); ++h) {
    const size_t at = size_t(c.first[h]) * row;
    const size_t n = size_t(c.visible_to(h, c.n - 1)) * row;
    std::memcpy(&bytes[at], &rows.bytes[at], n);
  }
  return bytes;
}

/// What attention gives: zeros and -infinity for a query that sees nothing.
struct Expected {
  std::vector<double> out;  // [n, n_heads, head_dim]
  std::vector<double> lse;  // [n_heads, n] base 2
};

/// softmax(q k^T / sqrt(d)) v for one query and query head.  out [head_dim]
inline void naive_query(const AttentionCase& c, int64_t i, int64_t head, Expected& expected) {
  const int64_t d = c.heads.head_dim;
  const auto h = size_t(head / c.heads.group());
  const float* q = &c.q.values[size_t((i * c.heads.n_heads + head) * d)];
  double* out = &expected.out[size_t((i * c.heads.n_heads + head) * d)];
  std::vector<std::pair<double, int64_t>> weights;
  double max = -INFINITY;
  for (int64_t r = 0; r < c.visible_to(h, i); ++r) {
    const int64_t entry = c.first[h] + r;
    if (((c.mask[size_t(entry)] >> (head % c.heads.group())) & 1U) == 0) continue;
    const float* k = &c.k.values[size_t(entry * d)];
    double score = 0;
    for (int64_t e = 0; e < d; ++e) score += double{q[e]} * k[e];
    weights.emplace_back(score / std::sqrt(double(d)), entry);
    max = std::max(max, weights.back().first);
  }
  double sum = 0;
  for (auto& [weight, entry] : weights) sum += weight = std::exp(weight - max);
  for (const auto& [weight, entry] : weights) {
    const float* v = &c.v.values[size_t(entry * d)];
    for (int64_t e = 0; e < d; ++e) out[e] += weight / sum * v[e];
  }
  expected.lse[size_t(head * c.n + i)] = (max + std::log(sum)) / std::log(2.0);
}

inline Expected naive(const AttentionCase& c) {
  Expected expected{std::vector<double>(size_t(c.n * c.heads.q_size()), 0.0),
                    std::vector<double>(size_t(c.n * c.heads.n_heads), 0.0)};
#pragma omp parallel for
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t head = 0; head < c.heads.n_heads; ++head) naive_query(c, i, head, expected);
  }
  return expected;
}

/// Queries that tests ask of attention_decode() at most. Its workspace grows with them; prefill has
/// none, and would spend most of its tests' time on it.
inline constexpr int64_t kMostDecodeQueries = 5;

/// A launch over a case's numbers: false where the kernel does not apply.
using AttentionLaunch = std::function<bool(const cuda::AttentionArgs&)>;

struct AttentionResult {
  bool ran = false;
  std::vector<float> out;  // [n, n_heads, head_dim]
  std::vector<float> lse;  // [n_heads, n]; NaN where it was not written
};

inline AttentionResult run(const AttentionCase& c, const AttentionLaunch& launch) {
  const DeviceBuffer q(c.q.bytes), k(poison_gaps(c, c.k)), v(poison_gaps(c, c.v));
  const DeviceBuffer mask(raw_bytes(c.mask)), first(raw_bytes(c.first)), slot(raw_bytes(c.slot));
  const DeviceBuffer visible(raw_bytes(c.visible)), ring_rows(raw_bytes(c.ring_rows));
  const DeviceBuffer out(c.q.bytes.size());
  const DeviceBuffer lse(size_t(c.n * c.heads.n_heads) * sizeof(float));
  const int64_t decoded = std::min(c.n, kMostDecodeQueries);
  const DeviceBuffer workspace(cuda::attention_decode_workspace_bytes(c.heads, decoded));
  const DeviceBuffer exchange(
      cuda::attention_decode_exchange_bytes(c.heads, decoded, cuda::current_gpu()));
  const cuda::AttentionArgs args{.type = c.type,
                                 .n = c.n,
                                 .q = q.data(),
                                 .out = out.data(),
                                 .lse = lse.as<float>(),
                                 .workspace = workspace.data(),
                                 .exchange = exchange.data(),
                                 .heads = c.heads,
                                 .kv = {.k = k.data(),
                                        .v = v.data(),
                                        .position = nullptr,
                                        .mask = mask.as<uint32_t>(),
                                        .k_plain = nullptr,
                                        .first = first.as<int64_t>(),
                                        .slot = slot.as<int32_t>(),
                                        .visible = visible.as<int32_t>(),
                                        .ring_rows = ring_rows.as<int32_t>(),
                                        .appended = c.appended,
                                        .capacity = c.capacity,
                                        .entries = std::ssize(c.mask)},
                                 .gpu = cuda::current_gpu()};
  AttentionResult result;
  result.ran = launch(args);
  (void)workspace.download();
  result.out = out.floats(c.type);
  result.lse = lse.values<float>();
  return result;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The most that a log-sum-exp is off, as a share of 1 + its size; NaN where one is infinite or NaN
/// and the other is not.
inline double lse_error(const std::vector<float>& actual, const std::vector<double>& expected) {
  double most = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double a = actual[i], e = expected[i];
    if (a == e) continue;
    const double error = std::fabs(a - e) / (1 + std::fabs(e));
    if (!(error <= most)) most = error;
  }
  return most;
}

/// A query's scores are sums of products in fp32, of what may be great numbers that cancel.
inline constexpr double kLseTolerance = 1e-4;

/// Of rows that an earlier pass has kept, each query head sees some; `hidden`: query heads of a
/// group, as bits, that see none of them.
inline void mask_kept_rows(AttentionCase& c, uint64_t seed, uint32_t hidden = 0) {
  TestRandom random(seed);
  for (size_t h = 0; h < c.first.size(); ++h) {
    for (int64_t r = 0; r < c.visible[h] - 1; ++r) {
      const auto bits = static_cast<uint32_t>((random.next() + 1) * 0x1p30F);  // 31 random bits
      c.mask[size_t(c.first[h] + r)] = bits & ~hidden;
    }
  }
}

}  // namespace winnow::test
