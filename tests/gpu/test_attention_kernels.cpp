// The GPU's attention against the formula in double precision, over ragged rows with masks. All
// kernels take the same cases; entries that belong to no row are NaN.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "cuda/kernels.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/gpu.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// One attention step: any number of rows held by each head, rows of the pass before the batch's
/// own, and n queries.
struct Case {
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

Case make_case(const cuda::Heads& heads, DType type, int64_t n, const std::vector<int32_t>& held,
               int64_t appended, uint64_t seed, float k_scale = 2) {
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
std::vector<int32_t> ragged(int64_t n_kv_heads) {
  const int32_t rows[] = {0, 63, 700, 64, 129, 1537, 1};
  std::vector<int32_t> held;
  for (int64_t h = 0; h < n_kv_heads; ++h) held.push_back(rows[h % 7]);
  return held;
}

/// The bytes of `rows` with NaN in every entry that is no row of a head.
std::string poison_gaps(const Case& c, const Stored& rows) {
  std::string bytes(rows.bytes.size(), '\xff');
  const size_t row = size_t(c.heads.head_dim) * dtype_size(c.type);
  for (size_t h = 0; h < c.first.size(); ++h) {
    const size_t at = size_t(c.first[h]) * row;
    const size_t n = size_t(c.visible_to(h, c.n - 1)) * row;
    std::memcpy(&bytes[at], &rows.bytes[at], n);
  }
  return bytes;
}

/// softmax(q k^T / sqrt(d)) v for one query and query head.  out [head_dim]
void naive_query(const Case& c, int64_t i, int64_t head, double* out) {
  const int64_t d = c.heads.head_dim;
  const auto h = size_t(head / c.heads.group());
  const float* q = &c.q.values[size_t((i * c.heads.n_heads + head) * d)];
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
}

std::vector<double> naive(const Case& c) {
  std::vector<double> out(size_t(c.n * c.heads.q_size()), 0.0);
#pragma omp parallel for
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t head = 0; head < c.heads.n_heads; ++head) {
      naive_query(c, i, head, &out[size_t((i * c.heads.n_heads + head) * c.heads.head_dim)]);
    }
  }
  return out;
}

/// kDecode: the plain kernel; kFastDecode: the fast one, where there is one for the case.
enum class Kernel { kPrefill, kDecode, kFastDecode };

std::vector<float> run(const Case& c, Kernel kernel) {
  const DeviceBuffer q(c.q.bytes), k(poison_gaps(c, c.k)), v(poison_gaps(c, c.v));
  const DeviceBuffer mask(raw_bytes(c.mask)), first(raw_bytes(c.first)), slot(raw_bytes(c.slot));
  const DeviceBuffer visible(raw_bytes(c.visible)), ring_rows(raw_bytes(c.ring_rows));
  const DeviceBuffer out(c.q.bytes.size());
  const DeviceBuffer workspace(cuda::attention_decode_workspace_bytes(c.heads, c.n));
  const DeviceBuffer exchange(
      cuda::attention_decode_exchange_bytes(c.heads, c.n, cuda::current_gpu()));
  cuda::AttentionArgs args{.type = c.type,
                           .n = c.n,
                           .q = q.data(),
                           .out = out.data(),
                           .workspace = workspace.data(),
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
  if (kernel == Kernel::kFastDecode) args.exchange = exchange.data();
  kernel == Kernel::kPrefill ? cuda::attention_prefill(args, nullptr)
                             : cuda::attention_decode(args, nullptr);
  (void)workspace.download();
  (void)exchange.download();
  return out.floats(c.type);
}

/// All kernels, decode where the rows are few; each twice.
void check(const Case& c, double bound) {
  CAPTURE(std::string(dtype_name(c.type)));
  CAPTURE(c.heads.n_heads);
  CAPTURE(c.heads.n_kv_heads);
  CAPTURE(c.heads.head_dim);
  CAPTURE(c.n);
  const std::vector<double> expected = naive(c);
  for (const Kernel kernel : {Kernel::kPrefill, Kernel::kDecode, Kernel::kFastDecode}) {
    if (kernel != Kernel::kPrefill && c.n > 5) continue;
    CAPTURE(static_cast<int>(kernel));
    const std::vector<float> out = run(c, kernel);
    CHECK(nmse(out, expected) < bound);
    const std::vector<float> again = run(c, kernel);
    CHECK(std::memcmp(out.data(), again.data(), out.size() * sizeof(float)) == 0);
  }
}

void check(const Case& c) {
  check(c, tolerance(c.type));
}

const cuda::Heads kLayouts[] = {{1, 1, 2},    {4, 4, 6},    {6, 2, 64},  {8, 1, 20},
                                {4, 2, 128},  {2, 1, 256},  {32, 1, 16}, {7, 1, 64},
                                {14, 2, 128}, {12, 1, 128}, {3, 3, 64},  {2, 2, 80}};

}  // namespace

TEST_CASE(
    "GPU: attention equals the formula: MHA, GQA, MQA, every kind of head, few rows and many") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      for (const int64_t n : {1, 2, 5, 33, 150}) {
        check(make_case(heads, type, n, std::vector<int32_t>(size_t(heads.n_kv_heads), 0), 0, 1));
      }
    }
  }
}

TEST_CASE("GPU: attention over held rows, ragged over heads, and after rows of the same pass") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      for (const int64_t n : {1, 4, 70}) {
        check(make_case(heads, type, n, ragged(heads.n_kv_heads), 0, 2));
        check(make_case(heads, type, n, ragged(heads.n_kv_heads), 61, 3));
      }
    }
    check(make_case({6, 3, 64}, type, 3, {0, 700, 5000}, 0, 4));
  }
}

TEST_CASE("GPU: over a ring, what is visible does not end at the row that was written last") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      Case c = make_case(heads, type, 1, ragged(heads.n_kv_heads), 0, 13);
      TestRandom random(14);
      for (uint32_t& mask : c.mask) mask = random.next() < 0 ? 1 : 0xfffffffeU;
      for (size_t h = 0; h < c.slot.size(); ++h) {
        if (c.slot[h] == 0) continue;  // no row yet: appending
        c.visible[h] = c.slot[h];
        c.ring_rows[h] = (c.slot[h] + 1) / 2;
        c.slot[h] -= c.ring_rows[h] - int32_t(h) % c.ring_rows[h];
      }
      check(c);
    }
  }
}

TEST_CASE("GPU: the capacity of the cache changes the launch, not the result") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const int64_t capacity : {1, 64, 1000, 100'000}) {
      Case c = make_case({8, 2, 128}, type, 2, {300, 17}, 0, 5);
      c.capacity = capacity;
      check(c);
    }
  }
}

TEST_CASE("GPU: a query head sees the rows whose mask has its bit, and no others") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : kLayouts) {
      for (const int64_t n : {1, 3, 80}) {
        Case c = make_case(heads, type, n, ragged(heads.n_kv_heads), 2, 6);
        TestRandom random(7);
        for (uint32_t& mask : c.mask) {
          mask = static_cast<uint32_t>((random.next() + 1) * 0x1p30F);  // 31 random bits
        }
        check(c);
      }
    }
  }
}

TEST_CASE("GPU: a query head that sees no row gives zeros, not NaN") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{2, 1, 8}, {2, 1, 64}, {2, 1, 128}}) {
      for (const int64_t n : {1, 6}) {
        Case c = make_case(heads, type, n, {600}, 0, 8);
        for (uint32_t& mask : c.mask) mask = 1;
        check(c);
        for (const Kernel kernel : {Kernel::kPrefill, Kernel::kDecode, Kernel::kFastDecode}) {
          const std::vector<float> out = run(c, kernel);
          for (size_t at = 0; at < out.size(); ++at) {
            const bool second_head = at / size_t(heads.head_dim) % 2 == 1;
            CHECK((out[at] == 0) == second_head);
          }
        }
      }
    }
  }
}

TEST_CASE("GPU: a stretch of rows in which a head sees nothing adds nothing") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const cuda::Heads& heads : {cuda::Heads{2, 1, 8}, {2, 1, 64}, {2, 1, 128}}) {
      Case front = make_case(heads, type, 2, {1100}, 0, 9);
      for (size_t r = 0; r < 1024; ++r) front.mask[size_t(front.first[0]) + r] = 2;
      check(front);
      Case back = make_case(heads, type, 2, {1100}, 0, 10);
      for (size_t r = 70; r < 1102; ++r) back.mask[size_t(back.first[0]) + r] = 2;
      check(back);
    }
  }
}

TEST_CASE("GPU: great scores do not overflow") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const int64_t n : {2, 40}) {
      check(make_case({2, 1, 8}, type, n, {100}, 0, 11, 2000), 1e-4);
      check(make_case({4, 1, 64}, type, n, {100}, 0, 12, 2000), 1e-4);
    }
  }
}
