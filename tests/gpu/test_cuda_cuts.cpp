// Cuts over a layer and over the model, and prompts that are read in chunks, on the GPU.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "cuda/kernels.h"
#include "src/cpu/cpu_device.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/gpu.h"
#include "tests/support/winnow_cuts.h"

using namespace winnow;
using namespace winnow::test;

namespace {

Model load(const TinyModel& shape, int64_t capacity) {
  return load_tiny_on_gpu(shape, capacity);
}

/// A pool of three heads in one layer and four in the next, with room behind each.
struct PoolCase {
  static constexpr int64_t kRoom = 5;
  int64_t head_dim;
  std::vector<int32_t> rows;
  std::vector<int64_t> first;
  int64_t entries = 3;  // the first segment does not begin at 0
  std::vector<float> score;
  std::vector<int32_t> position;

  PoolCase(int64_t dim, std::vector<int32_t> held, uint64_t seed)
      : head_dim(dim), rows(std::move(held)) {
    for (const int32_t n : rows) {
      first.push_back(entries);
      entries += n + kRoom;
    }
    TestRandom random(seed);
    score.assign(size_t(entries), -std::numeric_limits<float>::infinity());
    for (size_t s = 0; s < rows.size(); ++s) {
      for (int64_t r = 0; r < rows[s]; ++r) {
        score[size_t(first[s] + r)] = std::round(random.next() * 20);  // with ties
      }
    }
    for (int64_t i = 0; i < entries; ++i) position.push_back(int32_t(1000 + i));
  }
};

}  // namespace

TEST_CASE("GPU: cuts over the heads of a layer and over the model") {
  NEEDS_GPU();
  check_cut(load, DType::kF32, CutScope::kLayer);
  check_cut(load, DType::kF32, CutScope::kModel);
}

TEST_CASE("GPU: each method keeps what its budget promises, in every order of prefill") {
  NEEDS_GPU();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) check_every_method(load, type);
}

TEST_CASE("GPU: in fp32 each method keeps the rows that it keeps on the CPU") {
  NEEDS_GPU();
  const TinyModel shape = winnow_shapes(DType::kF32)[3];
  const Model gpu = load_tiny_on_gpu(shape, kCapacity);
  const Model cpu = load_tiny(shape, kCapacity);
  const std::vector<int32_t> prompt = prompt_of(shape, kPrompt, 50);
  for (const std::string_view name : policy_names()) {
    if (name == "full") continue;
    CAPTURE(std::string(name));
    KvOptions options = kv_options(std::string(name), 40);
    if (make_policy(name)->own_options().window) options.policy_options.window = 8;
    Sequence a = make_sequence(gpu, options, kPrompt, kCapacity);
    Sequence b = make_sequence(cpu, options, kPrompt, kCapacity);
    a.prefill(prompt);
    b.prefill(prompt);
    const KeptRecord kept_a = a.cache().kept();
    const KeptRecord kept_b = b.cache().kept();
    int64_t different = 0;  // a tie within rounding moves a row or two
    int64_t rows = 0;
    for (size_t i = 0; i < kept_a.heads.size(); ++i) {
      rows += std::ssize(kept_b.heads[i].position);
      for (const int32_t p : kept_b.heads[i].position) {
        different += std::ranges::count(kept_a.heads[i].position, p) == 0;
      }
    }
    CHECK(different <= rows / 100);
  }
}

TEST_CASE("GPU: prompts that are read in chunks") {
  NEEDS_GPU();
  for (const DType type : {DType::kF32, DType::kBF16}) {
    check_chunks(load, type, PrefillOrder::kChunk);
    check_chunks(load, type, PrefillOrder::kPatched);
    check_one_chunk(load, type);
  }
}

TEST_CASE("GPU: rows leave a pool, to the bit") {
  NEEDS_GPU();
  const std::vector<std::vector<int32_t>> sizes = {
      {0, 1, 700, 3, 513, 0, 1024}, {40'000, 7, 60'000}, {1}};
  for (const int64_t head_dim : {2, 6, 64, 128}) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      CAPTURE(head_dim);
      CAPTURE(i);
      const PoolCase c(head_dim, sizes[i], 7 + i);
      const uint64_t row_bytes = uint64_t(head_dim) * 2;
      std::vector<uint16_t> k(size_t(c.entries * head_dim));
      for (size_t e = 0; e < k.size(); ++e) k[e] = uint16_t(e * 2654435761U >> 7);
      const Cut cut{.score = 3, .last_tie = int32_t(c.entries / 2)};
      const DeviceBuffer gpu_k(raw_bytes(k)), gpu_v(raw_bytes(k));
      const DeviceBuffer position(raw_bytes(c.position)), mask(raw_bytes(c.position));
      const DeviceBuffer score(raw_bytes(c.score)), first(raw_bytes(c.first));
      const DeviceBuffer rows(raw_bytes(c.rows)), gpu_cut(raw_bytes(std::vector{cut}));
      const RowPool pool{.k = gpu_k.data(),
                         .v = gpu_v.data(),
                         .position = position.as<int32_t>(),
                         .mask = mask.as<uint32_t>(),
                         .score = score.as<float>(),
                         .entries = c.entries,
                         .n_segments = int64_t(c.rows.size()),
                         .first = first.as<int64_t>(),
                         .rows = rows.as<int32_t>()};
      const DeviceBuffer taken(raw_bytes(std::vector<int32_t>(c.rows.size(), -7)));
      const auto* device_cut = gpu_cut.as<Cut>();
      cuda::count_taken(pool, device_cut, taken.as<int32_t>(), nullptr);

      std::vector<int32_t> expected;
      std::vector<int64_t> new_first, before;
      int64_t total = 0, next = 2;
      std::vector<std::pair<int64_t, int64_t>> moves;  // from, to
      for (size_t s = 0; s < c.rows.size(); ++s) {
        int32_t n = 0;
        new_first.push_back(next);
        before.push_back(total);
        for (int64_t e = c.first[s]; e < c.first[s] + c.rows[s]; ++e) {
          if (!cut.takes(c.score[size_t(e)], e)) continue;
          moves.emplace_back(e, next + n);
          ++n;
        }
        expected.push_back(n);
        total += n;
        next += n + PoolCase::kRoom;
      }
      CHECK(taken.values<int32_t>() == expected);
      const DeviceBuffer to(raw_bytes(new_first)), gpu_before(raw_bytes(before));
      const DeviceBuffer workspace(
          cuda::squeeze_workspace_bytes(c.entries, head_dim, DType::kBF16));
      cuda::squeeze_rows(
          pool, head_dim, DType::kBF16, device_cut,
          {.first = to.as<int64_t>(), .before = gpu_before.as<int64_t>(), .total = total},
          workspace.data(), nullptr);
      const auto moved_k = gpu_k.values<uint16_t>();
      const auto moved_position = position.values<int32_t>();
      const auto moved_score = score.values<float>();
      int64_t wrong = 0;
      std::vector<float> scores(size_t(c.entries), -std::numeric_limits<float>::infinity());
      for (const auto& [from, where] : moves) {
        wrong += std::memcmp(&moved_k[size_t(where * head_dim)], &k[size_t(from * head_dim)],
                             row_bytes) != 0;
        wrong += moved_position[size_t(where)] != c.position[size_t(from)];
        scores[size_t(where)] = c.score[size_t(from)];
      }
      CHECK(wrong == 0);
      CHECK(moved_score == scores);
      CHECK(gpu_v.values<uint16_t>() == moved_k);
    }
  }
}
