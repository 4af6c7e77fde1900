// The GPU's way with rows that stay: listed, gathered, rotated, and all steps of winnowing in turn.
// Against the CPU device exactly; what no row is at is poisoned, and must stay so.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "src/cpu/cpu_device.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/kv_buffers.h"

using namespace winnow;
using namespace winnow::test;

namespace {

constexpr float kNoScore = -std::numeric_limits<float>::infinity();

/// Zones at every kind of place in heads of `held` rows: in the middle, all, none, at an end.
TestZones some_zones(const std::vector<int32_t>& held, uint64_t seed) {
  TestZones zones(held);
  TestRandom random(seed);
  for (size_t h = 0; h < held.size(); ++h) {
    const int32_t n = held[h];
    const auto begin = int32_t(draw(random, n + 1));
    zones.begin[h] = h % 4 == 1 || n < 8 ? 0 : begin;
    zones.end[h] = h % 4 == 2 ? n : zones.begin[h] + int32_t(draw(random, n - zones.begin[h] + 1));
  }
  return zones;
}

/// Scores with many ties and a cut for each list: among the scores, or taking all, or nothing.
void fill_lists(TestLists& lists, uint64_t seed) {
  TestRandom random(seed);
  for (float& score : lists.score) {
    score = draw(random, 6) == 0 ? kNoScore : float(draw(random, 20));
  }
  const auto rows = int32_t(lists.stride);
  for (int64_t i = 0; i < lists.n; ++i) {
    const Cut cuts[] = {{.score = 17, .last_tie = int32_t(draw(random, rows))},
                        {.score = kNoScore, .last_tie = -1},
                        {.score = -kNoScore, .last_tie = -1},
                        {.score = NAN, .last_tie = -1},
                        {.score = 19, .last_tie = rows / 2}};
    lists.cut[size_t(i)] = cuts[i % 7 == 6 ? 0 : i % 5];
  }
}

/// Runs list_kept on both devices; `n_lists`: n_heads, n_kv_heads or 0.
void check_list(const ModelConfig& c, int64_t n_lists, const std::vector<int32_t>& held,
                uint64_t seed) {
  CAPTURE(c.n_heads);
  CAPTURE(c.n_kv_heads);
  CAPTURE(n_lists);
  TestLayer layer(c, held, 1, seed);
  const TestZones zones = some_zones(held, seed + 1);
  TestLists lists(n_lists, most_of(held));
  fill_lists(lists, seed + 2);
  TestKept cpu(c.n_kv_heads, most_of(held));
  const TestKept poison = cpu;
  make_cpu_device(c, 2)->list_kept(layer.view(), zones.view(), lists.view(), cpu.view());

  const GpuLayer rows(layer, DType::kBF16);
  const GpuZones gpu_zones(zones);
  const GpuLists gpu_lists(lists);
  for (int run = 0; run < 2; ++run) {
    const GpuKept kept(poison);
    const DeviceBuffer workspace(cuda::list_kept_workspace_bytes(c.n_kv_heads));
    cuda::list_kept(rows.view(), cuda::heads_of(c), gpu_zones.view(), gpu_lists.view(), kept.view(),
                    workspace.data(), nullptr);
    (void)workspace.download();
    CHECK(kept.count.values<int32_t>() == cpu.count);
    CHECK(kept.row.values<int32_t>() == cpu.row);
    CHECK(kept.mask.values<uint32_t>() == cpu.mask);
  }
}

/// Which of two caches have plain keys, and whether rows get new masks.
struct GatherKind {
  bool from_plain = false;
  bool to_plain = false;
  bool new_masks = true;
};

/// Runs gather_rows on both devices. `shift` as in GpuLayer, of both.
void check_gather(const ModelConfig& c, DType type, const GatherKind& kind, size_t shift) {
  CAPTURE(std::string(dtype_name(type)));
  CAPTURE(c.n_kv_heads);
  CAPTURE(c.head_dim);
  CAPTURE(shift);
  const std::vector<int32_t> held = ragged_rows(c);
  TestLayer from(c, held, 1, 11);
  round_to(type, from);
  TestKept kept = choose_rows(c, held, 12);
  TestLayer to(c, kept.count, 1);
  const GpuLayer gpu_from(from, type, shift), gpu_to(to, type, shift);
  const GpuKept gpu_kept(kept);
  KeptRows view = gpu_kept.view();
  if (!kind.new_masks) view.mask = nullptr;
  cuda::gather_rows(kind.from_plain ? gpu_from.view_in_cache() : gpu_from.view(), view,
                    kind.to_plain ? gpu_to.view_in_cache() : gpu_to.view(), cuda::heads_of(c), type,
                    nullptr);

  view = kept.view();
  if (!kind.new_masks) view.mask = nullptr;
  make_cpu_device(c, 2)->gather_rows(kind.from_plain ? from.view_in_cache() : from.view(), view,
                                     kind.to_plain ? to.view_in_cache() : to.view());
  CHECK(same(gpu_to.numbers(gpu_to.k, type), to.k));
  CHECK(same(gpu_to.numbers(gpu_to.v, type), to.v));
  CHECK(same(gpu_to.numbers(gpu_to.k_plain, type), to.k_plain));
  CHECK(gpu_to.position.values<int32_t>() == to.position);
  CHECK(gpu_to.mask.values<uint32_t>() == to.mask);
}

/// NaN over the row at slot, which rotate_rows may leave or write.
void forget_slots(const TestLayer& layer, std::vector<float>& k) {
  const auto d = layer.config.head_dim;
  for (size_t h = 0; h < layer.slot.size(); ++h) {
    std::fill_n(&k[size_t((layer.first[h] + layer.slot[h]) * d)], d, NAN);
  }
}

void check_rotate(const ModelConfig& c, DType type, int32_t turn) {
  CAPTURE(std::string(dtype_name(type)));
  CAPTURE(c.n_kv_heads);
  CAPTURE(c.head_dim);
  CAPTURE(turn);
  std::vector<int32_t> held = ragged_rows(c);
  held[0] = 1200;
  TestLayer layer(c, held, 1, 13);
  layer.k = poisoned(int64_t(layer.k.size()));
  layer.make_ring(0, 7, turn);
  round_to(type, layer);
  std::vector<float> k[2];
  for (std::vector<float>& rotated : k) {
    const GpuLayer rows(layer, type);
    cuda::rotate_rows(rows.view_in_cache(), cuda::heads_of(c), type, rope_frequencies(c, 0),
                      nullptr);
    rotated = rows.numbers(rows.k, type);
    CHECK(same(rows.numbers(rows.k_plain, type), layer.k_plain));
    CHECK(same(rows.numbers(rows.v, type), layer.v));
    forget_slots(layer, rotated);
  }
  make_cpu_device(c, 2)->rotate_rows(layer.view_in_cache());
  forget_slots(layer, layer.k);
  CHECK(nmse_of_finite(k[0], layer.k) < tolerance(type));
  CHECK(same(k[0], k[1]));
}

/// The steps of a selection by chance and of what follows, by any device.
struct Selection {
  KvRows from, to;
  Zones zones;
  ScoreLists lists;
  KeptRows kept;

  void run(Device& device) const {
    device.random_scores(5, from, zones, lists);
    device.top_k(zones, lists);
    device.list_kept(from, zones, lists, kept);
    device.gather_rows(from, kept, to);
  }
};

}  // namespace

TEST_CASE("GPU: the rows that stay are listed as on the CPU: by query heads, KV heads, no scores") {
  NEEDS_GPU();
  uint64_t seed = 20;
  for (const ModelConfig& c : {attention_shape(3, 3, 2), attention_shape(8, 2, 2),
                               attention_shape(14, 2, 2), attention_shape(32, 1, 2)}) {
    std::vector<int32_t> large = ragged_rows(c);
    large[0] = 70'001;  // several tiles for every block
    for (const std::vector<int32_t>& held : {ragged_rows(c), large}) {
      check_list(c, c.n_heads, held, seed++);
      check_list(c, c.n_kv_heads, held, seed++);
      check_list(c, 0, held, seed++);
    }
  }
  for (const int32_t rows : {1, 3, 4, 5, 2047, 2048, 2049, 32'768, 32'769}) {
    CAPTURE(rows);
    check_list(attention_shape(8, 4, 2), 8, std::vector<int32_t>(4, rows), seed++);
  }
}

TEST_CASE(
    "GPU: gathered rows keep key, value, position and mask together, and write nothing else") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : gpu_shapes()) {
      check_gather(c, type, {}, 0);
      check_gather(c, type, {.new_masks = false}, 0);
    }
    check_gather(attention_shape(8, 2, 64), type, {}, 4);
    check_gather(attention_shape(4, 4, 128), type, {}, 8);
  }
}

TEST_CASE("GPU: gathered keys are plain where both caches have them, else rotated") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : {attention_shape(6, 2, 10), attention_shape(4, 2, 128)}) {
      check_gather(c, type, {.from_plain = true, .to_plain = true}, 0);
      check_gather(c, type, {.from_plain = true, .to_plain = false}, 0);
      check_gather(c, type, {.from_plain = false, .to_plain = true}, 0);
    }
  }
}

TEST_CASE("GPU: rotate_rows turns plain keys to their places, also in a ring, and nothing else") {
  NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const ModelConfig& c : gpu_shapes()) {
      for (const int32_t turn : {0, 3, 6}) check_rotate(c, type, turn);
    }
  }
}

TEST_CASE("GPU: a selection by chance keeps what the CPU keeps, with and without a graph") {
  NEEDS_GPU();
  for (const ModelConfig& c : gpu_shapes()) {
    CAPTURE(c.n_heads);
    CAPTURE(c.n_kv_heads);
    const std::vector<int32_t> held(size_t(c.n_kv_heads), 3000);
    TestLayer from(c, held, 1, 14), to(c, held, 1);
    TestZones zones(held);
    zones.begin.assign(held.size(), 5);
    zones.end.assign(held.size(), 2900);
    zones.k.assign(held.size(), 20);
    TestLists lists(c.n_heads, 3000);
    TestKept kept(c.n_kv_heads, 3000);
    const GpuLayer gpu_from(from, DType::kF32), gpu_to(to, DType::kF32);
    const GpuZones gpu_zones(zones);
    const GpuLists gpu_lists(lists);
    const GpuKept gpu_kept(kept);
    Selection{from.view(), to.view(), zones.view(), lists.view(), kept.view()}.run(
        *make_cpu_device(c, 2));

    ModelConfig config = c;
    config.vocab_size = 8;
    cuda::check_cuda(cudaDeviceSynchronize(), "upload");
    for (const bool graph : {false, true}) {
      const auto device = make_cuda_device(config, DType::kF32, {.graph = graph, .note = nullptr});
      device->reserve({.weights = 1, .kv = 1, .kv_again = 1, .scratch = 1});
      const Selection selection{gpu_from.view(), gpu_to.view(), gpu_zones.view(), gpu_lists.view(),
                                gpu_kept.view()};
      const auto recording = device->record([&] { selection.run(*device); });
      for (int i = 0; i < 3; ++i) {
        recording->run();
        device->synchronize();
        CHECK(gpu_kept.count.values<int32_t>() == kept.count);
        CHECK(gpu_kept.row.values<int32_t>() == kept.row);
        CHECK(gpu_kept.mask.values<uint32_t>() == kept.mask);
        CHECK(same(gpu_to.numbers(gpu_to.k, DType::kF32), to.k));
        CHECK(gpu_to.position.values<int32_t>() == to.position);
        cuda::check_cuda(cudaMemset(gpu_kept.count.data(), 0xee, kept.count.size() * 4), "forget");
        cuda::check_cuda(cudaDeviceSynchronize(), "forget");
      }
    }
  }
}
