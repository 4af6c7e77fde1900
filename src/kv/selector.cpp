#include "src/kv/selector.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "src/base/error.h"

namespace winnow {
namespace {

GroupScore score_of(Group group) {
  switch (group) {
    case Group::kMax: return GroupScore::kMax;
    case Group::kSum: return GroupScore::kSum;
    default: return GroupScore::kMean;
  }
}

/// Lists begin on multiples of 4 scores.
int64_t list_stride(int64_t max_rows) {
  return (max_rows + 3) / 4 * 4;
}

/// The most rows that a head can keep, also while a larger k is tried.
int64_t kept_stride(const KvSettings& settings, int64_t max_rows) {
  const bool adds_up = settings.fill || settings.order != PrefillOrder::kLayer;
  return adds_up ? max_rows : settings.most_kept(max_rows);
}

}  // namespace

std::vector<Cut> split_cut(const Cut& cut, int64_t first, int64_t stride, int64_t n_lists) {
  std::vector<Cut> cuts;
  for (int64_t i = 0; i < n_lists; ++i) {
    const int64_t last = cut.last_tie - first - i * stride;
    cuts.push_back({cut.score, static_cast<int32_t>(std::clamp<int64_t>(last, -1, stride))});
  }
  return cuts;
}

int64_t Selector::n_lists() const {
  if (!settings_.policy->scores_rows()) return 0;
  return settings_.group == Group::kHead ? config_.n_heads : config_.n_kv_heads;
}

uint64_t Selector::scratch_bytes(const ModelConfig& config, const KvSettings& settings,
                                 int64_t max_rows) {
  constexpr uint64_t kAllocations = 12;  // an upper bound, for their alignment
  const int64_t spares = settings.policy ? settings.policy->needs().spares : 0;
  const auto lists = static_cast<uint64_t>(config.n_heads * (1 + spares) + config.n_kv_heads);
  const auto heads = static_cast<uint64_t>(config.n_kv_heads);
  return lists * static_cast<uint64_t>(list_stride(max_rows)) * sizeof(float) +
         lists * sizeof(Cut) + (6 * heads + 4) * sizeof(int32_t) +
         heads * static_cast<uint64_t>(kept_stride(settings, max_rows)) * 2 * sizeof(int32_t) +
         kAllocations * Region::kAlignment;
}

Selector::Selector(const ModelConfig& config, Device& device, const KvSettings& settings,
                   int64_t max_rows, const std::optional<ChunkZones>& chunk)
    : config_(config),
      device_(device),
      settings_(settings),
      chunk_(chunk),
      counts_(static_cast<size_t>(config.n_kv_heads)) {
  Region& scratch = device_.scratch_region();
  const int64_t heads = config_.n_kv_heads;
  zone_memory_ = scratch.allocate_array<int32_t>("zones", 5 * heads);
  flat_zone_ = scratch.allocate_array<int32_t>("zone of a layer", 4);
  zones_ = {.rows = zone_memory_,
            .begin = zone_memory_ + heads,
            .end = zone_memory_ + 2 * heads,
            .k = zone_memory_ + 3 * heads,
            .max_rows = max_rows,
            .seen = zone_memory_ + 4 * heads};
  const int64_t stride = list_stride(max_rows);
  const auto make_lists = [&](const char* name, int64_t n) {
    return ScoreLists{.n = n,
                      .stride = stride,
                      .score = scratch.allocate_array<float>(name, n * stride),
                      .cut = scratch.allocate_array<Cut>("cuts", n)};
  };
  const int64_t lists = n_lists();
  if (lists > 0 && !settings_.policy->scores_kv_heads()) {
    head_lists_ = make_lists("scores", config_.n_heads);
  }
  if (settings_.group == Group::kHead) {
    lists_ = head_lists_;
  } else if (lists > 0 && settings_.cut != CutScope::kModel) {
    lists_ = make_lists("scores of groups", heads);
  }
  for (int i = 0; i < settings_.policy->needs().spares; ++i) {
    spare_[static_cast<size_t>(i)] = make_lists("scores beside", config_.n_heads);
  }
  const int64_t most = kept_stride(settings_, max_rows);
  kept_ = {.stride = most,
           .row = scratch.allocate_array<int32_t>("kept rows", heads * most),
           .mask = scratch.allocate_array<uint32_t>("kept masks", heads * most),
           .count = scratch.allocate_array<int32_t>("kept counts", heads)};
}

const std::vector<int32_t>& Selector::select(const LayerRows& layer) {
  divide(layer);
  upload_zones();
  if (lists_.n > 0) score(layer, lists_);
  if (lists_.n > 0 && settings_.cut == CutScope::kLayer) {
    cut_layer(layer);
  } else {
    cut(layer.kv);
  }
  check_cuts(layer.layer);
  if (settings_.fill) fill(layer.kv);
  check_counts(layer);
  return counts_;
}

/// What is promised of a budget is kept: by each head, or over the heads where they share it.
void Selector::check_counts(const LayerRows& layer) const {
  int64_t sum = 0;
  int64_t most_sum = 0;
  for (size_t h = 0; h < counts_.size(); ++h) {
    const int64_t most = most_of_head(h);
    sum += counts_[h];
    most_sum += most;
    WINNOW_CHECK(counts_[h] > 0 && (settings_.cut == CutScope::kLayer || counts_[h] <= most),
                 "layer ", layer.layer, ", KV head ", h, ": ", counts_[h], " rows kept of ", most);
  }
  WINNOW_CHECK(sum <= most_sum || settings_.fill, "layer ", layer.layer, ": ", sum,
               " rows kept of ", most_sum);
}

int64_t Selector::most_of_head(size_t h) const {
  const int64_t outside = host_.begin[h] + host_.rows[h] - host_.end[h];
  return outside + lists_of(settings_.group, config_.group()) * host_.k[h];
}

int64_t Selector::most_kept(const LayerRows& layer) {
  divide(layer);
  int64_t most = 0;
  for (size_t h = 0; h < counts_.size(); ++h) {
    most += std::min<int64_t>(most_of_head(h), host_.rows[h]);
  }
  return most;
}

void Selector::divide(const LayerRows& layer) {
  host_ = {};
  for (size_t h = 0; h < counts_.size(); ++h) divide_head(layer, h);
}

/// A head within the budget is all sink, unless it shares the budget with others. In a chunk the
/// rows before it take the place of the sinks; the first chunk has the text's own.
void Selector::divide_head(const LayerRows& layer, size_t h) {
  const int32_t n = layer.rows[h];
  const auto patch = static_cast<int32_t>(chunk_ ? chunk_->patch : 0);
  const int32_t old = chunk_ ? layer.old_rows[h] : 0;
  const Shares& shares = chunk_ ? chunk_->shares : settings_.shares;
  const int64_t lists = lists_of(settings_.group, config_.group());
  const int64_t budget = shares.sink + lists * shares.k + shares.recent;
  const int32_t rows = n - patch;
  const bool within = chunk_ ? rows - old <= budget : !settings_.exceeds(rows);
  const bool all = within && settings_.cut == CutScope::kList;
  const auto sink = std::min<int32_t>(static_cast<int32_t>(shares.sink), rows - old);
  const int32_t begin = all ? rows : old + sink;
  const int32_t end =
      all ? rows : std::max<int32_t>(begin, rows - static_cast<int32_t>(shares.recent));
  const int64_t k = settings_.policy->layer_k(shares.k, layer.layer, config_.n_layers, end - begin);
  host_.rows.push_back(rows);
  host_.begin.push_back(begin);
  host_.end.push_back(end);
  host_.k.push_back(all ? 0 : static_cast<int32_t>(k));
  host_.seen.push_back(n);
}

void Selector::upload_zones() {
  if (host_ == uploaded_) return;  // the layers of a first prompt are mostly alike
  std::vector<int32_t> all;
  for (const auto* part : {&host_.rows, &host_.begin, &host_.end, &host_.k, &host_.seen}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  device_.upload(zone_memory_, all.data(), all.size() * sizeof(int32_t));
  uploaded_ = host_;
}

/// lists: one for each query head, or for each KV head, as there are to be cut.
void Selector::score(const LayerRows& layer, const ScoreLists& lists) {
  const Policy& policy = *settings_.policy;
  const LayerScene scene{.layer = layer.layer,
                         .n_layers = config_.n_layers,
                         .queries = layer.queries,
                         .n_queries = layer.n_queries,
                         .last_query = layer.last_query,
                         .weights = layer.weights,
                         .rows = layer.kv,
                         .zones = zones_,
                         .spare = spare_,
                         .statistics = layer.statistics,
                         .outlook = layer.outlook};
  if (policy.scores_kv_heads() || settings_.group == Group::kHead) {
    return policy.score(device_, scene, lists);
  }
  policy.score(device_, scene, head_lists_);
  const GroupScore how = score_of(settings_.group);
  if (policy.scores_are_weights()) {
    device_.group_scores(head_lists_, how, zones_, lists);
  } else {
    device_.combine_scores(head_lists_, how, zones_, lists);
  }
}

/// The rows that stay with host_.k rows a list; their numbers in counts_.
void Selector::cut(const KvRows& kv) {
  if (lists_.n > 0) device_.top_k(zones_, lists_);
  list(kv);
}

void Selector::list(const KvRows& kv) {
  device_.list_kept(kv, zones_, lists_, kept_);
  device_.download(counts_.data(), kept_.count, counts_.size() * sizeof(int32_t));
}

/// All lists of the layer as one: its best n_kv_heads * k stay, wherever they are.
void Selector::cut_layer(const LayerRows& layer) {
  const int64_t heads = config_.n_kv_heads;
  const auto length = static_cast<int32_t>(heads * lists_.stride);
  const int64_t k = std::accumulate(host_.k.begin(), host_.k.end(), int64_t{0});
  const std::array<int32_t, 4> flat = {length, 0, length, static_cast<int32_t>(k)};
  device_.upload(flat_zone_, flat.data(), sizeof(flat));
  device_.set_aside(zones_, lists_, -std::numeric_limits<float>::infinity());
  const Zones zone{.rows = flat_zone_,
                   .begin = flat_zone_ + 1,
                   .end = flat_zone_ + 2,
                   .k = flat_zone_ + 3,
                   .max_rows = length};
  device_.top_k(zone, {.n = 1, .stride = length, .score = lists_.score, .cut = lists_.cut});
  Cut whole;
  device_.download(&whole, lists_.cut, sizeof(whole));
  const std::vector<Cut> cuts = split_cut(whole, 0, lists_.stride, heads);
  device_.upload(lists_.cut, cuts.data(), cuts.size() * sizeof(Cut));
  list(layer.kv);
  if (settings_.policy->floor() == 0 || std::isnan(whole.score)) return;
  share_by_floor();
  upload_zones();
  cut(layer.kv);
}

/// Of k, each head gets the policy's floor for certain, and of the rest as much as the layer's cut
/// took of its rows: k[h] = (1 - floor) * taken[h] + floor * k, rounded so that the sum stays.
void Selector::share_by_floor() {
  const double floor = settings_.policy->floor();
  const size_t heads = counts_.size();
  int64_t left = 0;  // that rounding down leaves over
  std::vector<std::pair<double, size_t>> parts;
  for (size_t h = 0; h < heads; ++h) {
    const int32_t taken = counts_[h] - host_.begin[h] - (host_.rows[h] - host_.end[h]);
    const double share = (1 - floor) * taken + floor * host_.k[h];
    left += taken;
    host_.k[h] = static_cast<int32_t>(std::floor(share + 1e-9));
    left -= host_.k[h];
    parts.emplace_back(host_.k[h] - share, h);  // the greatest part first, then the lower head
  }
  std::ranges::sort(parts);
  for (size_t i = 0; left > 0; ++i, --left) ++host_.k[parts[i % heads].second];
}

void Selector::score_all(const LayerRows& layer, const ScoreLists& lists) {
  divide(layer);
  upload_zones();
  score(layer, lists);
  device_.set_aside(zones_, lists, std::numeric_limits<float>::infinity());
}

int64_t Selector::rows_outside() const {
  int64_t rows = 0;
  for (size_t h = 0; h < counts_.size(); ++h) {
    rows += host_.begin[h] + host_.rows[h] - host_.end[h];
  }
  return rows;
}

/// Every row is between now: what was outside of the zones has scores that every cut takes.
const std::vector<int32_t>& Selector::take(const LayerRows& layer, const ScoreLists& lists,
                                           std::span<const Cut> cuts) {
  for (size_t h = 0; h < counts_.size(); ++h) {
    host_.begin[h] = 0;
    host_.end[h] = host_.rows[h];
  }
  upload_zones();
  device_.upload(lists.cut, cuts.data(), cuts.size_bytes());
  device_.list_kept(layer.kv, zones_, lists, kept_);
  device_.download(counts_.data(), kept_.count, counts_.size() * sizeof(int32_t));
  return counts_;
}

void Selector::check_cuts(int64_t layer) const {
  if (lists_.n == 0) return;
  std::vector<Cut> cuts(static_cast<size_t>(lists_.n));
  device_.download(cuts.data(), lists_.cut, cuts.size() * sizeof(Cut));
  for (size_t i = 0; i < cuts.size(); ++i) {
    if (!std::isnan(cuts[i].score)) continue;
    fail(ExitCode::kInternal, "layer ", layer, ": an attention score of list ", i, " is NaN");
  }
}

/// Several lists often take the same row, so that fewer rows are kept than the budget allows. The
/// sets only grow with k: a search by halves finds the greatest that fits, for all heads at a time.
void Selector::fill(const KvRows& kv) {
  const Shares& shares = settings_.shares;
  const auto lists = static_cast<int32_t>(lists_of(settings_.group, config_.group()));
  std::vector<int32_t> fits = host_.k;
  std::vector<int32_t> too_many(fits.size());
  for (size_t h = 0; h < fits.size(); ++h) {
    const bool all = host_.begin[h] == host_.end[h];
    too_many[h] = all ? 1 : static_cast<int32_t>(shares.k) * lists + 1;  // one list alone fills it
  }
  const auto is_open = [&](size_t h) { return fits[h] + 1 < too_many[h]; };
  bool open = true;
  while (open) {
    for (size_t h = 0; h < fits.size(); ++h) {
      host_.k[h] = is_open(h) ? (fits[h] + too_many[h]) / 2 : fits[h];
    }
    upload_zones();
    cut(kv);
    open = false;
    for (size_t h = 0; h < fits.size(); ++h) {
      if (!is_open(h)) continue;
      (counts_[h] <= settings_.budget ? fits[h] : too_many[h]) = host_.k[h];
      open = open || is_open(h);
    }
  }
  host_.k = fits;
  upload_zones();
  cut(kv);
}

}  // namespace winnow
