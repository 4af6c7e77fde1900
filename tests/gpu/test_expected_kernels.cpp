// The GPU's statistics of queries and expected scores against the CPU device: every type, ragged
// heads with masks and a window, chunks, places far into a text.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"
#include "tests/support/query_cases.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// Those of the CPU's tests, and heads of one, two and four half tiles.
std::vector<ModelConfig> shapes() {
  std::vector<ModelConfig> all = query_shapes();
  for (const ModelConfig& c : {attention_shape(4, 2, 128), attention_shape(6, 1, 256),
                               attention_shape(2, 2, 80), attention_shape(32, 1, 4)}) {
    all.push_back(c);
  }
  return all;
}

struct GpuStatistics {
  explicit GpuStatistics(const TestStatistics& from)
      : sum(raw_bytes(from.sum)), products(raw_bytes(from.products)) {}
  QueryStatistics view() const {
    return {.sum = sum.as<float>(), .products = products.as<float>()};
  }
  DeviceBuffer sum, products;
};

/// The queries become what is left of them in `type`.
void round_queries(QueryCase& queries, DType type) {
  queries.rotated = Stored(type, queries.rotated).values;
}

/// Chunks that end before the queries of these numbers, by the launcher.
TestStatistics add_on_gpu(const QueryCase& queries, DType type, const TestStatistics& before,
                          const std::vector<int64_t>& ends) {
  const GpuStatistics statistics(before);
  const cuda::Heads heads = cuda::heads_of(queries.config);
  int64_t begin = 0;
  for (const int64_t end : ends) {
    const std::vector<float> q(queries.rotated.begin() + begin * heads.q_size(),
                               queries.rotated.begin() + end * heads.q_size());
    const std::vector<int32_t> position(queries.position.begin() + begin,
                                        queries.position.begin() + end);
    const DeviceBuffer gpu_q(encode(type, q)), gpu_position(raw_bytes(position));
    const DeviceBuffer workspace(cuda::query_statistics_workspace_bytes(heads, end - begin));
    const cuda::QueryStatisticsArgs args{.type = type,
                                         .n = end - begin,
                                         .q = gpu_q.data(),
                                         .position = gpu_position.as<int32_t>(),
                                         .workspace = workspace.data(),
                                         .heads = heads};
    cuda::add_query_statistics(args, rope_frequencies(queries.config, queries.position.back() + 1),
                               statistics.view(), nullptr);
    (void)workspace.download();
    begin = end;
  }
  TestStatistics sums = before;
  sums.sum = statistics.sum.values<float>();
  sums.products = statistics.products.values<float>();
  return sums;
}

void check_statistics(const ModelConfig& c, DType type, int64_t n, int32_t first,
                      const std::vector<int64_t>& ends) {
  CAPTURE(std::string(dtype_name(type)));
  CAPTURE(c.n_heads);
  CAPTURE(c.head_dim);
  CAPTURE(n);
  CAPTURE(first);
  QueryCase queries(c, n, first, 41);
  round_queries(queries, type);
  TestStatistics cpu(c);
  cpu.sum = random_floats(int64_t(cpu.sum.size()), 42);  // it adds to what is there
  const TestStatistics before = cpu;
  const TestStatistics gpu = add_on_gpu(queries, type, before, ends);
  const TestStatistics again = add_on_gpu(queries, type, before, ends);
  queries.add_to(*make_cpu_device(c, 2), cpu, ends);
  const std::vector<float>& products = gpu.products;
  CHECK(nmse(gpu.sum, cpu.sum) < 1e-10);
  CHECK(nmse(products, cpu.products) < 1e-10);
  CHECK(same(gpu.sum, again.sum));
  CHECK(same(products, again.products));
  int64_t lopsided = 0;
  for (int64_t at = 0; at < int64_t(products.size()); ++at) {
    const int64_t a = at / c.head_dim % c.head_dim, b = at % c.head_dim;
    lopsided += products[size_t(at)] != products[size_t(at + (b - a) * (c.head_dim - 1))] ? 1 : 0;
  }
  CHECK(lopsided == 0);
}

/// Expected scores of one case by both devices.
struct ScoreRun {
  ScoreRun(const ModelConfig& c, DType t, const std::vector<int32_t>& held, int64_t window)
      : type(t), some(c, held, 43), statistics(c), outlook{.n_queries = 296, .position = 300} {
    some.window = window;
    outlook.epsilon = 0.01F;
    QueryCase(c, 300, 0, 44).add_to(*make_cpu_device(c, 2), statistics, {300});
    round_to(type, some.layer);
  }

  void check() {
    CAPTURE(std::string(dtype_name(type)));
    CAPTURE(some.layer.config.n_heads);
    CAPTURE(some.layer.config.head_dim);
    TestLists logits = some.head_lists(), lists = some.kv_lists();
    make_cpu_device(some.layer.config, 2)
        ->expected_scores(statistics.view(), outlook, some.rows(), some.zones.view(), logits.view(),
                          lists.view());
    const auto [gpu_logits, gpu_lists] = on_gpu(0, some.zones.view().max_rows);
    CHECK(nmse_of_finite(gpu_logits, logits.score) < 1e-10);
    CHECK(nmse_of_finite(gpu_lists, lists.score) < 1e-9);
    const auto again = on_gpu(0, 3 * some.zones.view().max_rows);
    CHECK(same(gpu_logits, again.first));
    CHECK(same(gpu_lists, again.second));
    const auto shifted = on_gpu(dtype_size(type), some.zones.view().max_rows);
    CHECK(nmse_of_finite(shifted.second, lists.score) < 1e-9);
  }

  std::pair<std::vector<float>, std::vector<float>> on_gpu(size_t shift, int64_t max_rows) const {
    const ModelConfig& c = some.layer.config;
    const cuda::Heads heads = cuda::heads_of(c);
    const GpuLayer rows(some.layer, type, shift);
    const GpuLists logits(some.head_lists()), lists(some.kv_lists());
    const GpuStatistics gpu_statistics(statistics);
    const DeviceBuffer workspace(cuda::expected_scores_workspace_bytes(heads));
    GpuZones zones(some.zones);
    zones.max_rows = max_rows;
    KvRows kv = rows.view();
    kv.window = some.window;
    const cuda::ExpectedArgs args{.type = type,
                                  .statistics = gpu_statistics.view(),
                                  .outlook = outlook,
                                  .kv = kv,
                                  .heads = heads,
                                  .zones = zones.view(),
                                  .workspace = workspace.data()};
    const RopeFrequencies f = rope_frequencies(c, outlook.position + outlook.n_tokens);
    cuda::expected_scores(args, mean_rotation(f, c.head_dim, outlook.position, outlook.n_tokens),
                          logits.view(), lists.view(), nullptr);
    (void)workspace.download();
    CHECK(same(gpu_statistics.sum.values<float>(), statistics.sum));  // they may be used again
    CHECK(same(gpu_statistics.products.values<float>(), statistics.products));
    return {logits.score.values<float>(), lists.score.values<float>()};
  }

  DType type;
  ExpectedCase some;
  TestStatistics statistics;
  Outlook outlook;
};

}  // namespace

TEST_CASE("GPU: query statistics are the CPU's, in chunks of any size") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : shapes()) {
      check_statistics(c, type, 300, 0, {1, 3, 40, 72, 300});
      check_statistics(c, type, 700, 131'000, {700});
    }
  }
}

TEST_CASE("GPU: expected scores are the CPU's") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : shapes()) {
      const bool one = c.n_kv_heads == 1;
      for (const int64_t window : {0, 220}) {
        ScoreRun(c, type, one ? std::vector<int32_t>{2309} : std::vector<int32_t>{}, window)
            .check();
      }
    }
    ScoreRun(attention_shape(8, 2, 64), type, {5000, 4097}, 0).check();
  }
}

TEST_CASE("GPU: the device takes workspaces of its own for keys, statistics and expected scores") {
  NEEDS_GPU();
  for (ModelConfig c : {attention_shape(4, 2, 128), attention_shape(3, 3, 6)}) {
    c.vocab_size = 8;
    c.hidden_size = c.intermediate_size = 8;
    const QueryCase queries(c, 300, 0, 45);
    ExpectedCase some(c, std::vector<int32_t>(size_t(c.n_kv_heads), 400), 46);
    const Outlook outlook{.n_queries = 296, .position = 300};
    TestStatistics cpu(c);
    TestLists logits = some.head_lists(), lists = some.kv_lists(), keys = some.kv_lists();
    const auto host = make_cpu_device(c, 2);
    queries.add_to(*host, cpu, {300});
    host->expected_scores(cpu.view(), outlook, some.rows(), some.zones.view(), logits.view(),
                          lists.view());
    host->key_differences(some.rows(), some.zones.view(), keys.view());

    const auto device = make_cuda_device(c, DType::kF32, {});
    device->reserve({.weights = 1, .kv = 1, .kv_again = 1, .scratch = 1});
    const DeviceBuffer q(raw_bytes(queries.rotated)), position(raw_bytes(queries.position));
    const DeviceBuffer workspace(device->workspace_bytes(300));
    const GpuStatistics gpu(TestStatistics{c});
    const GpuLayer rows(some.layer, DType::kF32);
    const GpuZones zones(some.zones);
    const GpuLists gpu_logits(some.head_lists()), gpu_lists(some.kv_lists());
    const GpuLists gpu_keys(some.kv_lists());
    cuda::check_cuda(cudaDeviceSynchronize(), "upload");
    Activations a;
    a.q = q.data();
    a.workspace = workspace.data();
    KvRows kv = rows.view();
    kv.window = some.window;
    device->add_query_statistics({.n = 300, .position = position.as<int32_t>(), .length = 300}, a,
                                 gpu.view());
    device->expected_scores(gpu.view(), outlook, kv, zones.view(), gpu_logits.view(),
                            gpu_lists.view());
    device->key_differences(kv, zones.view(), gpu_keys.view());
    device->synchronize();
    CHECK(nmse_of_finite(gpu_lists.score.values<float>(), lists.score) < 1e-9);
    CHECK(nmse_of_finite(gpu_keys.score.values<float>(), keys.score) < 1e-11);
    (void)workspace.download();
  }
}
