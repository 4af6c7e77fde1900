#include "src/kv/pass.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "src/base/error.h"

namespace winnow {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

int64_t KvPass::most_rows(const KvCache& cache, const ModelConfig& config) {
  int64_t most = 0;
  if (cache.empty()) return most;
  for (int64_t l = 0; l < config.n_layers; ++l) {
    for (const HeadRows& head : cache.store().heads(l)) most = std::max<int64_t>(most, head.rows);
  }
  return most;
}

KvPass::Kind KvPass::kind_for(const KvCache& cache, const ModelConfig& config,
                              const KvSettings& settings, int64_t n, int64_t steps) {
  const bool selects = cache.empty() || settings.reselect;
  if (selects && settings.exceeds(most_rows(cache, config) + n)) return Kind::kWinnow;
  // Scores grow while a prompt is read: in place, a prompt that is stopped would leave them grown.
  if (cache.empty()) return Kind::kInPlace;
  const bool joins = cache.has_room(n + steps) && !settings.extras().scores;
  return joins ? Kind::kInPlace : Kind::kCopy;
}

uint64_t KvPass::selection_bytes(const ModelConfig& config, const Device& device,
                                 const KvSettings& settings, int64_t max_rows, int64_t room) {
  const uint64_t selector = Selector::scratch_bytes(config, settings, max_rows);
  if (settings.cut != CutScope::kModel) return selector;
  const int64_t entries = config.n_layers * config.n_kv_heads * room;
  return selector + RunningCut::scratch_bytes(config, device, max_rows, entries);
}

uint64_t KvPass::scratch_bytes(const ModelConfig& config, const Device& device,
                               const KvSettings& settings, int64_t max_rows, int64_t room) {
  const DType type = device.compute_type();
  constexpr uint64_t kAllocations = 16;  // an upper bound, for their alignment
  const auto heads = static_cast<uint64_t>(config.n_kv_heads);
  const auto entries = heads * static_cast<uint64_t>(max_rows);
  const uint64_t plain =
      settings.places_in_cache ? static_cast<uint64_t>(config.head_dim) * dtype_size(type) : 0;
  // Beside the row and its extras: where the old rows lie, and the layer's scores.
  return entries * (KvStore::row_bytes(config, type) + plain + sizeof(int32_t) + sizeof(float)) +
         heads * (sizeof(int64_t) + 4 * sizeof(int32_t)) + kAllocations * Region::kAlignment +
         selection_bytes(config, device, settings, max_rows, room);
}

KvPass::KvPass(Kind kind, const KvPassScene& scene, KvCache& cache, int64_t n, int64_t growth)
    : kind_(kind),
      config_(scene.config),
      device_(scene.device),
      settings_(scene.settings),
      meter_(scene.meter),
      cache_(cache),
      n_(n),
      growth_(growth),
      drops_rows_(settings_.exceeds(most_rows(cache, config_) + n) || scene.chunk.has_value()),
      no_rows_(static_cast<size_t>(config_.n_kv_heads)),
      chunk_(scene.chunk),
      in_chunks_(scene.in_chunks) {
  if (kind_ == Kind::kInPlace) {
    if (cache_.empty()) cache_.make_room(n + growth);
    return;
  }
  if (!settings_.policy) settings_.policy = make_policy("full");
  if (kind_ != Kind::kFollow) make_scratch();
  if (kind_ == Kind::kFollow) {
    WINNOW_CHECK(cache_.empty(), "a cache that holds rows cannot follow");
    scratch_.capacity = n_;
  }
  if (selects()) selector_.emplace(config_, device_, settings_, scratch_.capacity, chunk_);
  store_ = cache_.new_store();
  if (!selects() || settings_.cut != CutScope::kModel) return;
  running_cut_.emplace(config_, device_, scratch_.capacity, pool_rows());
  store_->make_pool(pool_rows());
}

/// Rows that there must be room for in all layers together.
int64_t KvPass::pool_rows() const {
  const int64_t heads = config_.n_layers * config_.n_kv_heads;
  if (!chunk_) return heads * (std::min(settings_.budget, scratch_.capacity) + growth_);
  const Shares& shares = chunk_->shares;
  const int64_t kept = std::min(shares.sink + shares.k + shares.recent, n_);
  return cache_.rows_held() + heads * (kept + growth_);
}

Needs KvPass::needs() const {
  return selects() ? settings_.policy->needs() : Needs{};
}

bool KvPass::sums_columns() const {
  return settings_.policy && settings_.policy->needs().column_sums;
}

void KvPass::make_scores() {
  if (!selects() || scratch_.score != nullptr) return;  // others fill a store, which has its own
  scratch_.score = device_.scratch_region().allocate_array<float>("layer scores", scratch_.entries);
}

bool KvPass::selects() const {
  return kind_ == Kind::kWinnow || kind_ == Kind::kFollow;
}

/// One layer of full K/V: every head has room for its old rows and the new ones. A copying pass
/// needs the counters alone, and the rotated keys where there are plain ones.
void KvPass::make_scratch() {
  Region& memory = device_.scratch_region();
  const int64_t heads = config_.n_kv_heads;
  const int64_t old = most_rows(cache_, config_);
  const int64_t room = old + n_ + (kind_ == Kind::kCopy ? growth_ : 0);
  const uint64_t row_bytes =
      static_cast<uint64_t>(config_.head_dim) * dtype_size(device_.compute_type());
  const uint64_t bytes = static_cast<uint64_t>(heads * room) * row_bytes;
  counters_ = memory.allocate_array<int32_t>("layer counters", 3 * heads);
  scratch_.capacity = room;
  scratch_.entries = heads * room;
  if (old > 0) {
    old_rows_ = {.stride = old,
                 .row = memory.allocate_array<int32_t>("old rows", heads * old),
                 .count = memory.allocate_array<int32_t>("old counts", heads)};
  }
  if (selects() || settings_.places_in_cache) {
    scratch_.k = memory.allocate("layer k", bytes);
  }
  if (kind_ == Kind::kCopy) return;
  scratch_.v = memory.allocate("layer v", bytes);
  scratch_.position = memory.allocate_array<int32_t>("layer positions", heads * room);
  scratch_.mask = memory.allocate_array<uint32_t>("layer masks", heads * room);
  if (settings_.places_in_cache) scratch_.k_plain = memory.allocate("layer plain k", bytes);
  std::vector<int64_t> first;
  for (int64_t h = 0; h < heads; ++h) first.push_back(h * room);
  auto* device_first = memory.allocate_array<int64_t>("layer first rows", heads);
  device_.upload(device_first, first.data(), first.size() * sizeof(int64_t));
  scratch_.first = device_first;
}

std::span<const HeadRows> KvPass::old_heads(int64_t l) const {
  return cache_.empty() ? std::span<const HeadRows>(no_rows_) : cache_.store().heads(l);
}

KvRows KvPass::open_layer(int64_t l) {
  if (kind_ == Kind::kInPlace) return cache_.layer(l);
  KvRows kv = scratch_;
  if (kind_ == Kind::kCopy) {
    std::vector<HeadRows> heads;
    for (const HeadRows& old : old_heads(l)) heads.push_back(after_copy(old));
    store_->add_layer(heads);
    kv = store_->layer(l);
    if (settings_.places_in_cache) kv.k = scratch_.k;
  }
  upload_counters(l);
  kv.slot = counters_;
  kv.visible = counters_ + config_.n_kv_heads;
  kv.ring_rows = counters_ + 2 * config_.n_kv_heads;
  if (scratch_.score != nullptr) {
    device_.clear(scratch_.score, static_cast<uint64_t>(scratch_.entries) * sizeof(float));
  }
  if (!cache_.empty()) gather_old(l, kv);
  return kv;
}

/// While the layer is open its old rows are in order, and new ones are added behind them.
void KvPass::upload_counters(int64_t l) {
  std::vector<int32_t> counters;
  for (const HeadRows& old : old_heads(l)) counters.push_back(old.rows);      // slot
  for (const HeadRows& old : old_heads(l)) counters.push_back(old.rows + 1);  // visible
  for (int64_t h = 0; h < config_.n_kv_heads; ++h) counters.push_back(0);     // ring_rows
  if (counters == uploaded_) return;  // the layers of a first prompt are all alike
  device_.upload(counters_, counters.data(), counters.size() * sizeof(int32_t));
  uploaded_ = counters;
}

/// The rows of the old store by age.
void KvPass::gather_old(int64_t l, const KvRows& to) {
  const std::span<const HeadRows> heads = old_heads(l);
  std::vector<int32_t> rows(heads.size() * static_cast<size_t>(old_rows_.stride));
  std::vector<int32_t> counts;
  for (size_t h = 0; h < heads.size(); ++h) {
    const std::vector<int32_t> of_head = cache_.rows_by_age(l, static_cast<int64_t>(h));
    std::ranges::copy(of_head, &rows[h * static_cast<size_t>(old_rows_.stride)]);
    counts.push_back(heads[h].rows);
  }
  device_.upload(old_rows_.row, rows.data(), rows.size() * sizeof(int32_t));
  device_.upload(old_rows_.count, counts.data(), counts.size() * sizeof(int32_t));
  device_.gather_rows(cache_.layer(l), old_rows_, to);
}

HeadRows KvPass::after_copy(const HeadRows& old) const {
  const auto n = static_cast<int32_t>(n_);
  HeadRows head{.rows = old.rows + n, .room = old.rows + n, .by_score = old.by_score};
  if (old.ring_rows > 0) {
    head.ring_rows = old.ring_rows + n;
  } else {
    head.room += static_cast<int32_t>(growth_);
  }
  return head;
}

HeadRows KvPass::after_selection(int32_t rows) const {
  HeadRows head{.rows = rows, .room = rows};
  if (drops_rows_ && !in_chunks_ && settings_.replaces_rows()) {
    const auto recent = static_cast<int32_t>(settings_.shares.recent);
    head.by_score = settings_.extras().scores;
    head.ring_rows = head.by_score ? rows : std::min(rows, recent);
  } else {
    head.room += static_cast<int32_t>(growth_);
  }
  return head;
}

LayerRows KvPass::rows_of(int64_t l, const KvRows& kv) const {
  LayerRows layer;
  layer.layer = l;
  layer.kv = kv;
  for (const HeadRows& old : old_heads(l)) {
    layer.old_rows.push_back(old.rows);
    layer.rows.push_back(old.rows + static_cast<int32_t>(n_));
  }
  return layer;
}

void KvPass::close_layer(const LayerRows& layer) {
  if (kind_ == Kind::kInPlace) return;
  KvLoad load{.visible = 0, .elsewhere = cache_.rows_held() + store_->rows_held()};
  for (const HeadRows& old : old_heads(layer.layer)) load.visible += old.rows + 1;
  if (kind_ == Kind::kCopy) load.elsewhere -= store_->layer_rows(layer.layer);
  meter_.count_layer(n_ - patch(), load);
  if (selects()) compact(layer);
  if (store_->n_layers() == config_.n_layers) store_->upload_counters();
}

void KvPass::compact(const LayerRows& layer) {
  const int64_t growth = config_.n_kv_heads * growth_;
  store_->prepare_layer(selector_->most_kept(layer) +
                        growth);  // the device is still at work on the layer
  device_.synchronize();
  const Clock::time_point start = Clock::now();
  std::vector<HeadRows> heads;
  const std::vector<int32_t>& kept = select(layer);
  for (size_t h = 0; h < kept.size(); ++h) {
    heads.push_back(after_selection(kept[h]));
    if (settings_.exceeds(layer.rows[h]) && settings_.group == Group::kHead && !chunk_) {
      rows_shared_ += settings_.budget - kept[h];
    }
  }
  store_->add_layer(heads);
  device_.gather_rows(layer.kv, selector_->kept(), store_->layer(layer.layer));
  if (running_cut_) running_cut_->add_layer(*store_, selector_->kept());
  device_.synchronize();
  compact_ms_ += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  // Alone, a cache that keeps every row would have been filled in place, without a scratch layer.
  if (!drops_rows_ && cache_.empty()) return;
  meter_.count_held(cache_.rows_held() + store_->rows_held() +
                    std::accumulate(layer.rows.begin(), layer.rows.end(), int64_t{0}));
}

/// What each head keeps of its rows, [n_kv_heads]; a cut over the model takes rows of the layers
/// before, too.
const std::vector<int32_t>& KvPass::select(const LayerRows& layer) {
  if (!running_cut_) return selector_->select(layer);
  const ScoreLists& lists = running_cut_->layer_lists();
  selector_->score_all(layer, lists);
  protected_ += selector_->rows_outside();
  const int64_t k = (chunk_ ? chunk_->shares : settings_.shares).k;
  const int64_t n = config_.n_layers * config_.n_kv_heads * k + protected_;
  return selector_->take(layer, lists, running_cut_->cut(*store_, n));
}

KvMeter KvPass::finish() {
  const int64_t position = cache_.next_position();
  if (kind_ == Kind::kInPlace) {
    cache_.count_pass(n_, meter_);
    cache_.close_prefill(n_);
  } else {
    cache_.replace(std::move(store_), n_ - patch());
  }
  meter_.close_pass(n_ - patch(), position);
  return meter_;
}

}  // namespace winnow
