#include "src/bench/step_memory.h"

#include <numeric>
#include <string>

#include "src/bench/synthetic.h"
#include "src/kv/selector.h"

namespace winnow {

ModelConfig first_layers(const ModelConfig& config, int64_t n) {
  ModelConfig first = config;
  first.n_layers = n;
  return first;
}

StepMemory::StepMemory(const BenchScene& scene, int64_t rows)
    : device_(scene.device()), region_(device_.scratch_region()), mark_(region_.mark()) {
  const ModelConfig& c = scene.config();
  const DType type = device_.compute_type();
  std::vector<int32_t> numbers(static_cast<size_t>(rows));
  std::iota(numbers.begin(), numbers.end(), 0);
  auto* const position = region_.allocate_array<int32_t>("positions", rows);
  device_.upload(position, numbers.data(), numbers.size() * sizeof(int32_t));
  for (int32_t& number : numbers) {
    number = static_cast<int32_t>(int64_t{number} * 7919 % c.vocab_size);
  }
  auto* const token = region_.allocate_array<int32_t>("tokens", rows);
  device_.upload(token, numbers.data(), numbers.size() * sizeof(int32_t));
  batch = {.n = rows,
           .token = token,
           .position = position,
           .x = static_cast<float*>(random("x", DType::kF32, rows * c.hidden_size))};
  a.q = random("q", type, rows * c.q_size());
  a.attention = random("attention", type, rows * c.q_size());
  a.h = random("h", type, rows * c.intermediate_size);
  a.workspace = region_.allocate("workspace", device_.workspace_bytes(rows));
  logits = static_cast<float*>(random("logits", DType::kF32, c.vocab_size));
  const int32_t zero = 0;
  for (int32_t** counter : {&state.token, &state.n_sampled, &state.stopped}) {
    *counter = region_.allocate_array<int32_t>("counter", 1);
    device_.upload(*counter, &zero, sizeof(zero));
  }
  const std::vector<int32_t> no_ids(kMaxStopIds, -1);
  state.stop_ids = region_.allocate_array<int32_t>("stop tokens", kMaxStopIds);
  device_.upload(state.stop_ids, no_ids.data(), no_ids.size() * sizeof(int32_t));
  const std::vector<uint8_t> none(static_cast<size_t>(c.vocab_size));
  state.seen = region_.allocate_array<uint8_t>("tokens seen", c.vocab_size);
  device_.upload(state.seen, none.data(), none.size());
}

void* StepMemory::random(const char* name, DType type, int64_t elements) {
  const auto n = static_cast<uint64_t>(elements);
  void* memory = region_.allocate(name, n * dtype_size(type));
  device_.fill_random(memory, type, n, ++seed_, 1);
  return memory;
}

RandomRows::RandomRows(const BenchScene& scene, int64_t n_layers, const KvSettings& kv,
                       int64_t depth, int64_t growth)
    : head_(synthetic_head(kv, depth, growth)),
      store_(first_layers(scene.config(), n_layers), scene.device(), scene.device().kv_region(0),
             kv.extras()) {
  fill_store(store_, scene.device(), first_layers(scene.config(), n_layers), kv, depth, head_);
}

uint64_t RandomRows::bytes(const BenchRequest& request, int64_t n_layers, const KvSettings& kv,
                           int64_t depth, int64_t growth) {
  return KvStore::region_bytes(first_layers(request.files.config, n_layers),
                               request.device.compute_type(),
                               synthetic_head(kv, depth, growth).room, kv.extras());
}

WinnowMemory::WinnowMemory(const BenchScene& scene, const KvSettings& kv, int64_t rows)
    : scene_(scene),
      device_(scene.device()),
      region_(device_.scratch_region()),
      mark_(region_.mark()),
      own_lists_(kv.group == Group::kHead),
      zone_(rows - kv.shares.sink - kv.shares.recent),
      stride_((rows + 3) / 4 * 4),
      from_(scene, 1, KvSettings{}, rows, 0),
      to_(first_layers(scene.config(), 1), device_, device_.kv_region(1), RowExtras{}) {
  const ModelConfig& c = scene.config();
  const std::vector<HeadRows> heads(
      static_cast<size_t>(c.n_kv_heads),
      {.rows = static_cast<int32_t>(kv.budget), .room = static_cast<int32_t>(kv.budget)});
  to_.add_layer(heads);
  to_.upload_counters();
  const DType type = device_.compute_type();
  const auto q_size = static_cast<uint64_t>(c.q_size());
  void* q = region_.allocate("query", q_size * dtype_size(type));
  device_.fill_random(q, type, q_size, 1, 1);
  query = q;
  head_lists = make_lists("scores", c.n_heads);
  group_lists = make_lists("scores of groups", c.n_kv_heads);
  kept = {.stride = kv.budget,
          .row = region_.allocate_array<int32_t>("kept rows", c.n_kv_heads * kv.budget),
          .mask = region_.allocate_array<uint32_t>("kept masks", c.n_kv_heads * kv.budget),
          .count = region_.allocate_array<int32_t>("kept counts", c.n_kv_heads)};
  upload_zones(kv, rows);
}

ScoreLists WinnowMemory::make_lists(const char* name, int64_t n) {
  return {.n = n,
          .stride = stride_,
          .score = region_.allocate_array<float>(name, n * stride_),
          .cut = region_.allocate_array<Cut>("cuts", n)};
}

void WinnowMemory::upload_zones(const KvSettings& kv, int64_t rows) {
  const auto heads = static_cast<size_t>(scene_.config().n_kv_heads);
  auto* const memory = region_.allocate_array<int32_t>("zones", 4 * scene_.config().n_kv_heads);
  std::vector<int32_t> numbers;
  for (const int64_t number : {rows, kv.shares.sink, rows - kv.shares.recent, kv.shares.k}) {
    numbers.insert(numbers.end(), heads, static_cast<int32_t>(number));
  }
  device_.upload(memory, numbers.data(), numbers.size() * sizeof(int32_t));
  zones = {.rows = memory,
           .begin = memory + heads,
           .end = memory + 2 * heads,
           .k = memory + 3 * heads,
           .max_rows = rows};
}

void WinnowMemory::select() {
  device_.attention_scores(query, from(), zones, head_lists);
  device_.combine_scores(head_lists, GroupScore::kMean, zones, group_lists);
  device_.top_k(zones, lists());
  device_.list_kept(from(), zones, lists(), kept);
  device_.synchronize();
}

double WinnowMemory::kept_rows() const {
  std::vector<int32_t> counts(static_cast<size_t>(scene_.config().n_kv_heads));
  device_.download(counts.data(), kept.count, counts.size() * sizeof(int32_t));
  return std::accumulate(counts.begin(), counts.end(), 0.0);
}

/// The arrays of a Selector, and a query.
uint64_t WinnowMemory::scratch_bytes(const BenchRequest& request, const KvSettings& kv,
                                     int64_t rows) {
  const ModelConfig& c = request.files.config;
  return Selector::scratch_bytes(c, kv, rows) +
         static_cast<uint64_t>(c.q_size()) * dtype_size(request.device.compute_type()) +
         4 * Region::kAlignment;
}

}  // namespace winnow
