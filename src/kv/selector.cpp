#include "src/kv/selector.h"

#include <algorithm>
#include <cmath>

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
  return settings.fill ? max_rows : std::min(max_rows, settings.budget);
}

}  // namespace

int64_t Selector::n_lists() const {
  if (!settings_.policy->scores_rows()) return 0;
  return settings_.group == Group::kHead ? config_.n_heads : config_.n_kv_heads;
}

uint64_t Selector::scratch_bytes(const ModelConfig& config, const KvSettings& settings,
                                 int64_t max_rows) {
  constexpr uint64_t kAllocations = 8;  // an upper bound, for their alignment
  const auto lists = static_cast<uint64_t>(config.n_heads + config.n_kv_heads);
  const auto heads = static_cast<uint64_t>(config.n_kv_heads);
  return lists * static_cast<uint64_t>(list_stride(max_rows)) * sizeof(float) +
         lists * sizeof(Cut) + 5 * heads * sizeof(int32_t) +
         heads * static_cast<uint64_t>(kept_stride(settings, max_rows)) * 2 * sizeof(int32_t) +
         kAllocations * Region::kAlignment;
}

Selector::Selector(const ModelConfig& config, Device& device, const KvSettings& settings,
                   int64_t max_rows)
    : config_(config),
      device_(device),
      settings_(settings),
      counts_(static_cast<size_t>(config.n_kv_heads)) {
  Region& scratch = device_.scratch_region();
  const int64_t heads = config_.n_kv_heads;
  zone_memory_ = scratch.allocate_array<int32_t>("zones", 4 * heads);
  zones_ = {.rows = zone_memory_,
            .begin = zone_memory_ + heads,
            .end = zone_memory_ + 2 * heads,
            .k = zone_memory_ + 3 * heads,
            .max_rows = max_rows};
  const int64_t stride = list_stride(max_rows);
  const auto make_lists = [&](const char* name, int64_t n) {
    return ScoreLists{.n = n,
                      .stride = stride,
                      .score = scratch.allocate_array<float>(name, n * stride),
                      .cut = scratch.allocate_array<Cut>("cuts", n)};
  };
  if (n_lists() > 0) head_lists_ = make_lists("scores", config_.n_heads);
  lists_ = n_lists() == heads && settings_.group != Group::kHead
               ? make_lists("scores of groups", heads)
               : head_lists_;
  const int64_t most = kept_stride(settings_, max_rows);
  kept_ = {.stride = most,
           .row = scratch.allocate_array<int32_t>("kept rows", heads * most),
           .mask = scratch.allocate_array<uint32_t>("kept masks", heads * most),
           .count = scratch.allocate_array<int32_t>("kept counts", heads)};
}

const std::vector<int32_t>& Selector::select(int64_t layer, const void* last_query,
                                             const KvRows& kv, std::span<const int32_t> rows) {
  divide(rows);
  upload_zones();
  score(layer, last_query, kv);
  cut(kv);
  check_cuts(layer);
  if (settings_.fill) fill(kv);
  for (size_t h = 0; h < counts_.size(); ++h) {
    WINNOW_CHECK(counts_[h] > 0 && counts_[h] <= std::max<int64_t>(settings_.budget, 0), "layer ",
                 layer, ", KV head ", h, ": ", counts_[h], " rows kept of a budget of ",
                 settings_.budget);
  }
  return counts_;
}

/// A head within the budget is all sink.
void Selector::divide(std::span<const int32_t> rows) {
  const Shares& shares = settings_.shares;
  host_ = {};
  for (const int32_t n : rows) {
    const bool all = !settings_.exceeds(n);
    host_.rows.push_back(n);
    host_.begin.push_back(all ? n : static_cast<int32_t>(shares.sink));
    host_.end.push_back(all ? n : n - static_cast<int32_t>(shares.recent));
    host_.k.push_back(all ? 0 : static_cast<int32_t>(shares.k));
  }
}

void Selector::upload_zones() {
  std::vector<int32_t> all, before;
  for (const auto* part : {&host_.rows, &host_.begin, &host_.end, &host_.k}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  for (const auto* part : {&uploaded_.rows, &uploaded_.begin, &uploaded_.end, &uploaded_.k}) {
    before.insert(before.end(), part->begin(), part->end());
  }
  if (all == before) return;  // the layers of a first prompt are all alike
  device_.upload(zone_memory_, all.data(), all.size() * sizeof(int32_t));
  uploaded_ = host_;
}

void Selector::score(int64_t layer, const void* last_query, const KvRows& kv) {
  if (lists_.n == 0) return;
  const LayerScene scene{.layer = layer, .last_query = last_query, .rows = kv, .zones = zones_};
  settings_.policy->score(device_, scene, head_lists_);
  if (settings_.group == Group::kHead) return;
  device_.combine_scores(head_lists_, score_of(settings_.group), zones_, lists_);
}

/// The rows that stay with host_.k rows a list; their numbers in counts_.
void Selector::cut(const KvRows& kv) {
  if (lists_.n > 0) device_.top_k(zones_, lists_);
  device_.list_kept(kv, zones_, lists_, kept_);
  device_.download(counts_.data(), kept_.count, counts_.size() * sizeof(int32_t));
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
