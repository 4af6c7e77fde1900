// The GPU's steps of methods that go on choosing while text is written, against their definitions
// in double precision and the CPU device. What is no row's is poisoned, and must stay so.
#include <doctest/doctest.h>

#include <cstring>

#include "cuda/column_sums.h"
#include "cuda/top_k.h"
#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/support/decode_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

using Launch = bool (*)(const cuda::ColumnSumArgs&, cuda::Stream);

/// A case's numbers as `type` holds them, and the scores that a kernel leaves.
struct GpuSums {
  GpuSums(SumCase& test, DType t, size_t shift_bytes = 0)
      : type(t),
        shift(shift_bytes),
        config(test.layer.config),
        q(std::string(shift, '\xff') + encode(type, test.q)),
        layer(test.layer, type, shift) {
    test.q = decode({"", type, {test.q.size()}, encode(type, test.q)});
    round_to(type, test.layer);
    kv = test.view();
    scores = test.score;
    const auto [exact, sums] = test.naive();
    lse = std::vector<float>(exact.begin(), exact.end());
    expected = sums;
  }

  /// Empty where it does not apply.
  std::vector<float> run(Launch launch, int32_t stopped = 0) const {
    const DeviceBuffer score(raw_bytes(scores)), sums(raw_bytes(lse));
    const DeviceBuffer flag(raw_bytes(std::vector<int32_t>{stopped}));
    KvRows rows = layer.view();
    rows.appended = kv.appended;
    rows.window = kv.window;
    rows.capacity = kv.capacity + 3;
    rows.score = score.as<float>();
    const cuda::ColumnSumArgs args{.type = type,
                                   .n = std::ssize(lse) / config.n_heads,
                                   .q = q.as<std::byte>() + shift,
                                   .lse = sums.as<float>(),
                                   .stopped = flag.as<int32_t>(),
                                   .heads = cuda::heads_of(config),
                                   .kv = rows};
    if (!launch(args, nullptr)) return {};
    return score.values<float>();
  }

  DType type;
  size_t shift;
  ModelConfig config;
  DeviceBuffer q;
  GpuLayer layer;
  KvRows kv;
  std::vector<float> scores, lse;
  std::vector<double> expected;
};

}  // namespace

TEST_CASE("GPU: what rows get of attention") {
  NEEDS_GPU();
  std::vector<ModelConfig> shapes = attention_shapes();
  for (const ModelConfig& c : {attention_shape(4, 2, 64), attention_shape(3, 3, 128),
                               attention_shape(14, 2, 128), attention_shape(7, 1, 64)}) {
    shapes.push_back(c);
  }
  for (const ModelConfig& c : shapes) {
    for (const SumSizes& size : sum_sizes(c.n_kv_heads)) {
      for (const DType type : kTypes) {
        CAPTURE(std::string(dtype_name(type)));
        CAPTURE(c.n_heads);
        CAPTURE(c.n_kv_heads);
        CAPTURE(c.head_dim);
        CAPTURE(size.n);
        CAPTURE(size.window);
        SumCase test(c, size.held, size.n, size.appended, size.window, 5);
        const GpuSums gpu(test, type);
        const std::vector<float> plain = gpu.run(cuda::column_sums_plain);
        CHECK(nmse_of_finite(plain, gpu.expected) < 1e-10);
        CHECK(same(plain, gpu.run(cuda::column_sums_plain)));
        CHECK(same(gpu.run(cuda::column_sums_plain, 1), gpu.scores));
        const std::vector<float> mma = gpu.run(cuda::column_sums_mma);
        const bool applies =
            type != DType::kF32 && size.window == 0 && (c.head_dim == 64 || c.head_dim == 128);
        REQUIRE(mma.empty() == !applies);
        if (mma.empty()) continue;
        CHECK(nmse_of_finite(mma, gpu.expected) < 1e-10);
        CHECK(same(mma, gpu.run(cuda::column_sums_mma)));
        CHECK(same(gpu.run(cuda::column_sums_mma, 1), gpu.scores));
      }
    }
  }
}

TEST_CASE("GPU: what rows get of attention, out of rows that are not aligned") {
  NEEDS_GPU();
  const ModelConfig c = attention_shape(4, 2, 64);
  SumCase test(c, {20, 50}, 70, 0, 0, 5);
  const GpuSums gpu(test, DType::kBF16, 2);
  CHECK(gpu.run(cuda::column_sums_mma).empty());
  CHECK(nmse_of_finite(gpu.run(cuda::column_sums_plain), gpu.expected) < 1e-10);
}

TEST_CASE("GPU: the row that a token goes over") {
  NEEDS_GPU();
  const ModelConfig c = attention_shape(8, 4, 6);
  for (const int64_t recent : {0, 1, 300, 2000}) {
    for (const uint64_t seed : {1, 2, 3}) {
      const SlotCase test(c, {1, 700, 37, 512}, seed);
      const GpuLayer layer(test.layer, DType::kF32);
      const DeviceBuffer position(raw_bytes(std::vector<int32_t>{test.position}));
      for (const int32_t stopped : {1, 0}) {
        const DeviceBuffer score(raw_bytes(test.score));
        const DeviceBuffer slot(4 * sizeof(int32_t));
        const DeviceBuffer flag(raw_bytes(std::vector<int32_t>{stopped}));
        KvRows kv = layer.view();
        kv.score = score.as<float>();
        const Batch batch{
            .n = 1, .position = position.as<int32_t>(), .stopped = flag.as<int32_t>()};
        cuda::choose_slots(batch, kv, 4, recent, slot.as<int32_t>(), nullptr);
        std::vector<float> expected = test.score;
        for (size_t h = 0; h < 4; ++h) {
          const int32_t row = stopped == 1 ? -1 : test.naive(h, recent);
          CHECK(slot.values<int32_t>()[h] == row);
          if (stopped == 0) expected[size_t(test.layer.first[h] + row)] = 0;
        }
        CHECK(same(score.values<float>(), expected));
      }
    }
  }
}

TEST_CASE("GPU: pages are summarized, scored and read") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    const cuda::Heads heads = cuda::heads_of(c);
    for (const DType type : kTypes) {
      for (const int64_t window : {0, 70}) {
        CAPTURE(c.n_heads);
        CAPTURE(c.head_dim);
        CAPTURE(std::string(dtype_name(type)));
        const std::vector<int32_t> held = ragged_rows(c);
        PageCase test(c, held, 7, window, 9);
        test.q = decode({"", type, {test.q.size()}, encode(type, test.q)});
        round_to(type, test.layer);
        const GpuLayer layer(test.layer, type);
        const DeviceBuffer q(encode(type, test.q)), zone(raw_bytes(test.zone));
        const DeviceBuffer keys(encode_poisoned(type, test.keys)), mask(raw_bytes(test.mask));
        const GpuLists lists(test.lists);
        const DeviceBuffer flag(raw_bytes(std::vector<int32_t>{0}));
        KvRows kv = layer.view();
        kv.window = window;
        kv.pages = {.keys = keys.data(),
                    .n_read = test.n_read,
                    .score = lists.view().score,
                    .stride = lists.stride,
                    .cut = lists.view().cut,
                    .zone = zone.as<int32_t>(),
                    .mask = mask.as<uint32_t>()};
        cuda::summarize_pages(kv, heads, type, nullptr);
        cuda::join_page(kv, flag.as<int32_t>(), heads, type, nullptr);
        cuda::score_pages(q.data(), kv, heads, type, nullptr);
        cuda::top_k(page_zones(kv.pages, c.n_kv_heads), page_lists(kv.pages, c.n_heads),
                    c.n_kv_heads, nullptr);
        cuda::mask_pages(kv, heads, nullptr);
        CHECK(mask.values<uint32_t>() == test.naive());
        const auto device = make_cpu_device(c, 2);
        device->summarize_pages(test.view());
        device->join_page({.n = 1}, test.view());
        CHECK(same(keys.floats(type), test.keys));
        device->score_pages(test.q.data(), test.view());
        CHECK(zone.values<int32_t>() == test.zone);
        CHECK(nmse_of_finite(lists.score.values<float>(), test.lists.score) < 1e-11);
      }
    }
  }
}
