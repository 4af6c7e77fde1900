// How long the GPU takes to score a layer's rows and to bring those that stay together: 8 KV heads
// of 4 query heads, 128 elements of bf16, 2048 rows kept. Run with --no-skip.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "cuda/random.h"
#include "cuda/top_k.h"
#include "tests/gpu/buffers.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/timing.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr cuda::Heads kHeads = {32, 8, 128};
constexpr int32_t kSink = 512, kRecent = 512, kBest = 256;
constexpr int64_t kKept = kSink + kRecent + 4 * kBest;

template <class T>
std::string same_for_all(T value) {
  return raw_bytes(std::vector<T>(size_t(kHeads.n_kv_heads), value));
}

std::string first_rows(int64_t rows) {
  std::vector<int64_t> first;
  for (int64_t h = 0; h < kHeads.n_kv_heads; ++h) first.push_back(h * rows);
  return raw_bytes(first);
}

/// K/V rows of random numbers, every head with `rows` of them, all seen.
struct Layer {
  explicit Layer(int64_t rows)
      : k(size_t(rows * kHeads.kv_size()) * 2),
        v(size_t(rows * kHeads.kv_size()) * 2),
        position(size_t(rows * kHeads.n_kv_heads) * 4),
        mask(size_t(rows * kHeads.n_kv_heads) * 4),
        first(first_rows(rows)) {
    const auto n = uint64_t(rows * kHeads.kv_size());
    cuda::fill_random(k.data(), DType::kBF16, n, 1, 1, nullptr);
    cuda::fill_random(v.data(), DType::kBF16, n, 2, 1, nullptr);
  }
  KvRows view() const {
    return {.k = k.data(),
            .v = v.data(),
            .position = position.as<int32_t>(),
            .mask = mask.as<uint32_t>(),
            .k_plain = nullptr,
            .first = first.as<int64_t>()};
  }
  DeviceBuffer k, v, position, mask, first;
};

/// A layer of `n_rows` rows, and all that a selection needs.
struct Scene {
  explicit Scene(int32_t n_rows)
      : layer(n_rows),
        to(kKept),
        q(size_t(kHeads.q_size()) * 2),
        rows(same_for_all(n_rows)),
        begin(same_for_all(kSink)),
        end(same_for_all(n_rows - kRecent)),
        k(same_for_all(kBest)),
        score(size_t(kHeads.n_heads) * size_t(n_rows) * 4),
        cut(size_t(kHeads.n_heads) * sizeof(Cut)),
        kept_row(size_t(kHeads.n_kv_heads * kKept) * 4),
        kept_mask(size_t(kHeads.n_kv_heads * kKept) * 4),
        kept_count(size_t(kHeads.n_kv_heads) * 4),
        workspace(cuda::list_kept_workspace_bytes(kHeads.n_kv_heads)),
        zones{.rows = rows.as<int32_t>(),
              .begin = begin.as<int32_t>(),
              .end = end.as<int32_t>(),
              .k = k.as<int32_t>(),
              .max_rows = n_rows},
        lists{.n = kHeads.n_heads,
              .stride = n_rows,
              .score = score.as<float>(),
              .cut = cut.as<Cut>()},
        kept{.stride = kKept,
             .row = kept_row.as<int32_t>(),
             .mask = kept_mask.as<uint32_t>(),
             .count = kept_count.as<int32_t>()} {
    cuda::fill_random(q.data(), DType::kBF16, uint64_t(kHeads.q_size()), 3, 1, nullptr);
  }

  void score_rows() const {
    cuda::attention_scores(q.data(), layer.view(), kHeads, DType::kBF16, zones, lists, nullptr);
  }
  void list_rows() const {
    cuda::list_kept(layer.view(), kHeads, zones, lists, kept, workspace.data(), nullptr);
  }
  void gather() const {
    cuda::gather_rows(layer.view(), kept, to.view(), kHeads, DType::kBF16, nullptr);
  }

  Layer layer, to;
  DeviceBuffer q, rows, begin, end, k, score, cut, kept_row, kept_mask, kept_count, workspace;
  Zones zones;
  ScoreLists lists;
  KeptRows kept;
};

double gigabytes_per_second(double bytes, double us) {
  return bytes / us * 1e-3;
}

}  // namespace

TEST_CASE("timing: attention scores" * doctest::skip()) {
  NEEDS_GPU();
  for (const int32_t rows : {32'768, 131'072}) {
    const Scene scene(rows);
    const double us = median_us([&] { scene.score_rows(); });
    const double bytes = double(rows) * double(kHeads.kv_size()) * 2;
    MESSAGE("attention scores, ", rows, " rows: ", us, " us, ", gigabytes_per_second(bytes, us),
            " GB/s of keys");
  }
}

TEST_CASE("timing: list kept and gather" * doctest::skip()) {
  NEEDS_GPU();
  for (const int32_t rows : {32'768, 131'072}) {
    const Scene scene(rows);
    scene.score_rows();
    cuda::top_k(scene.zones, scene.lists, kHeads.n_kv_heads, nullptr);
    const double list_us = median_us([&] { scene.list_rows(); });
    const double gather_us = median_us([&] { scene.gather(); });
    double kept = 0;
    for (const int32_t n : scene.kept_count.values<int32_t>()) kept += n;
    const double scores = double(rows) * double(kHeads.n_heads) * 4;
    const double moved = kept * 2 * (2 * 2 * double(kHeads.head_dim) + 8);
    MESSAGE("list kept, ", rows, " rows: ", list_us, " us, ", gigabytes_per_second(scores, list_us),
            " GB/s of scores; ", kept, " rows kept");
    MESSAGE("gather, ", rows, " rows: ", gather_us, " us, ", gigabytes_per_second(moved, gather_us),
            " GB/s read and written");
  }
}

TEST_CASE("timing: window scores of a layer" * doctest::skip()) {
  NEEDS_GPU();
  constexpr int64_t kWindow = 32, kHidden = 4096;
  constexpr uint64_t kFactor = uint64_t(kHeads.q_size() * kHeads.head_dim);
  for (const int32_t rows : {32'768, 131'072}) {
    const Scene scene(rows);
    const Scene by(rows);  // its lists are the second set
    const DeviceBuffer queries(size_t(kWindow * kHeads.q_size()) * 2);
    const DeviceBuffer factor(kFactor * 4), o(size_t(kHidden * kHeads.q_size()) * 2);
    const DeviceBuffer workspace(cuda::window_attention_workspace_bytes(kHeads));
    const DeviceBuffer sums(cuda::normalize_workspace_bytes(kHeads.n_kv_heads));
    const DeviceBuffer grams(kFactor * 4);
    cuda::fill_random(queries.data(), DType::kBF16, uint64_t(kWindow * kHeads.q_size()), 4, 1,
                      nullptr);
    cuda::fill_random(factor.data(), DType::kF32, kFactor, 5, 1, nullptr);
    cuda::fill_random(o.data(), DType::kBF16, uint64_t(kHidden * kHeads.q_size()), 6, 1, nullptr);
    LayerWeights w;
    w.o = {.data = o.data(), .type = DType::kBF16, .rows = kHidden, .cols = kHeads.q_size()};
    w.o_factor = factor.as<float>();
    const KvRows kv = scene.layer.view();
    ScoreLists groups = scene.lists;
    groups.n = kHeads.n_kv_heads;
    const double bytes = double(rows) * double(kHeads.kv_size()) * 2;  // of K, or of V
    const double scores = double(rows) * double(kHeads.n_heads) * 4;
    const auto report = [&](const char* what, double moved, const std::function<void()>& step) {
      const double us = median_us(step);
      MESSAGE(what, ", ", rows, " rows: ", us * 1e-3, " ms, ", gigabytes_per_second(moved, us),
              " GB/s");
    };
    report("window attention", 2 * bytes, [&] {
      cuda::window_attention(queries.data(), kWindow, kv, kHeads, DType::kBF16, scene.zones,
                             WindowSum::kNorm, scene.lists, workspace.data(), nullptr);
    });
    const auto norms = [&](ValueNorm how) {
      cuda::value_norms(w, kv, kHeads, DType::kBF16, scene.zones, how, by.lists, nullptr);
    };
    report("value norms, L1 of outputs", bytes, [&] { norms(ValueNorm::kOutputL1); });
    report("value norms, of values", bytes, [&] { norms(ValueNorm::kValue); });
    report("value norms, of outputs", bytes, [&] { norms(ValueNorm::kOutput); });
    report("scale scores", 3 * scores, [&] {
      cuda::scale_scores(scene.lists, 0, by.lists, scene.zones, kHeads.n_kv_heads, nullptr);
    });
    report("group scores", 1.25 * scores, [&] {
      cuda::group_scores(scene.lists, GroupScore::kMean, scene.zones, groups, nullptr);
    });
    report("pool scores", 0.5 * scores, [&] {
      cuda::pool_scores(groups, 7, Pool::kAverage, scene.zones, by.lists, kHeads.n_kv_heads,
                        nullptr);
    });
    report("normalize scores", 0.75 * scores, [&] {
      cuda::normalize_scores(groups, scene.zones, kHeads.n_kv_heads, sums.data(), nullptr);
    });
    report("output grams", double(kHidden * kHeads.q_size()) * 2,
           [&] { cuda::output_grams(w.o, kHeads, grams.as<float>(), nullptr); });
  }
}
