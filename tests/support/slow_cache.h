// What a cache must hold after any events, found slowly and apart from it: lists of rows.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "src/kv/kept.h"
#include "src/kv/settings.h"
#include "weights/config.h"

namespace winnow::test {

struct SlowRow {
  int32_t position = 0;
  uint32_t mask = 0;  // of the group's query heads
};

/// The rows of a KV head, the oldest first.
struct SlowHead {
  std::vector<SlowRow> rows;
  int64_t ring_rows = 0;  // the last so many, of which a new row replaces the first; 0: none
};

class SlowCache {
 public:
  /// The score of a row for query head `head` of the layer.
  using Score = std::function<double(int64_t layer, int64_t head, size_t row)>;

  SlowCache(const ModelConfig& config, const KvSettings& settings)
      : config_(config),
        kv_(settings),
        heads_(static_cast<size_t>(config.n_layers * config.n_kv_heads)) {}

  const ModelConfig& config() const { return config_; }
  int64_t next_position() const { return next_position_; }
  const SlowHead& head(int64_t l, int64_t h) const { return heads_[index(l, h)]; }

  int64_t most_rows() const {
    size_t most = 0;
    for (const SlowHead& head : heads_) most = std::max(most, head.rows.size());
    return static_cast<int64_t>(most);
  }
  int64_t layer_rows(int64_t l) const {
    int64_t rows = 0;
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) rows += std::ssize(head(l, h).rows);
    return rows;
  }
  int64_t rows_held() const {
    int64_t rows = 0;
    for (int64_t l = 0; l < config_.n_layers; ++l) rows += layer_rows(l);
    return rows;
  }

  /// Whether a prompt of `n` tokens more makes a selection.
  bool selects(int64_t n) const {
    return (next_position_ == 0 || kv_.reselect) && most_rows() + n > kv_.budget;
  }

  /// `n` tokens more in every head.
  void append(int64_t n) {
    for (SlowHead& head : heads_) {
      for (int64_t i = 0; i < n; ++i) head.rows.push_back(newest(i));
      if (head.ring_rows > 0) head.ring_rows += n;
    }
    next_position_ += n;
  }

  /// A generated token.
  void step() {
    for (SlowHead& head : heads_) {
      if (head.ring_rows > 0) head.rows.erase(head.rows.end() - head.ring_rows);
      head.rows.push_back(newest(0));
    }
    next_position_ += 1;
  }

  /// Drops what the settings do not keep of all heads that exceed the budget.
  void select(const Score& score) {
    for (int64_t l = 0; l < config_.n_layers; ++l) {
      for (int64_t h = 0; h < config_.n_kv_heads; ++h) {
        SlowHead& head = heads_[index(l, h)];
        if (std::ssize(head.rows) > kv_.budget) head.rows = selected(l, h, score);
        head.ring_rows = kv_.recompact == 0 ? kv_.shares.recent : 0;
      }
    }
  }

  /// The same by what was kept in fact, where the scores are not known. Says what is wrong with it.
  std::string select_like(const KeptRecord& record) {
    std::string fault;
    for (int64_t l = 0; l < config_.n_layers; ++l) {
      for (int64_t h = 0; h < config_.n_kv_heads; ++h) {
        SlowHead& head = heads_[index(l, h)];
        const std::string found = adopt(head.rows, record.head(l, h));
        if (!found.empty()) fault = found;
        head.ring_rows = kv_.recompact == 0 ? kv_.shares.recent : 0;
      }
    }
    return fault;
  }

  uint32_t all_bits() const { return ~0U >> (32 - config_.group()); }

 private:
  size_t index(int64_t l, int64_t h) const {
    return static_cast<size_t>(l * config_.n_kv_heads + h);
  }
  SlowRow newest(int64_t i) const { return {static_cast<int32_t>(next_position_ + i), all_bits()}; }
  bool in_zone(size_t row, size_t n) const {
    return row >= size_t(kv_.shares.sink) && row < n - size_t(kv_.shares.recent);
  }

  /// Row -> mask, where every list takes its best k.
  std::map<size_t, uint32_t> taken(int64_t l, int64_t h, int64_t k, const Score& score) const {
    const std::vector<SlowRow>& rows = head(l, h).rows;
    std::map<size_t, uint32_t> kept;
    for (size_t r = 0; r < rows.size(); ++r) {
      if (!in_zone(r, rows.size())) kept[r] = rows[r].mask;
    }
    for (int64_t g = 0; kv_.policy->scores_rows() && g < config_.group(); ++g) {
      std::vector<std::pair<double, size_t>> list;
      for (size_t r = 0; r < rows.size(); ++r) {
        const bool seen = ((rows[r].mask >> g) & 1U) != 0;
        if (!seen || !in_zone(r, rows.size())) continue;
        list.emplace_back(-score(l, h * config_.group() + g, r), r);
      }
      std::ranges::sort(list);
      for (size_t i = 0; i < std::min(list.size(), size_t(k)); ++i) {
        kept[list[i].second] |= 1U << g;
      }
    }
    return kept;
  }

  std::vector<SlowRow> selected(int64_t l, int64_t h, const Score& score) const {
    std::map<size_t, uint32_t> kept = taken(l, h, kv_.shares.k, score);
    for (int64_t k = kv_.shares.k + 1; kv_.fill && k <= kv_.shares.k * config_.group(); ++k) {
      std::map<size_t, uint32_t> more = taken(l, h, k, score);
      if (std::ssize(more) > kv_.budget) break;
      kept = std::move(more);
    }
    std::vector<SlowRow> rows;
    for (const auto& [r, mask] : kept) rows.push_back({head(l, h).rows[r].position, mask});
    return rows;
  }

  std::string adopt(std::vector<SlowRow>& rows, const KeptHead& kept) const {
    const size_t n = rows.size();
    const bool all = int64_t(n) <= kv_.budget;
    if (std::ssize(kept.position) > (all ? int64_t(n) : kv_.budget)) return "too many rows";
    const bool per_head = kv_.group == Group::kHead && kv_.policy->scores_rows();
    std::vector<int64_t> seen(33), took(33);
    std::vector<SlowRow> left;
    size_t i = 0;
    for (size_t r = 0; r < n; ++r) {
      const bool stays = i < kept.position.size() && kept.position[i] == rows[r].position;
      const uint32_t mask = stays ? kept.mask[i] & all_bits() : 0;
      i += stays;
      const bool zone = !all && in_zone(r, n);
      if (!zone && (!stays || mask != rows[r].mask)) return "a protected row is not as it was";
      if (zone && (mask & ~rows[r].mask) != 0) return "a head sees what it had given up";
      if (zone && stays && !per_head && mask != rows[r].mask) return "a mask changed";
      if (zone && stays && mask == 0) return "a row that nobody sees";
      for (int64_t g = 0; zone && g < config_.group(); ++g) {
        seen[size_t(g)] += (rows[r].mask >> g) & 1U;
        took[size_t(g)] += (mask >> g) & 1U;
      }
      if (stays) left.push_back({rows[r].position, mask});
    }
    if (i != kept.position.size()) return "rows from nowhere";
    for (int64_t g = 0; !all && per_head && g < config_.group(); ++g) {
      const int64_t least = std::min(seen[size_t(g)], kv_.shares.k);
      const bool exact = took[size_t(g)] == least;
      if (kv_.fill ? took[size_t(g)] < least : !exact) return "a list took another number of rows";
    }
    rows = left;
    return "";
  }

  ModelConfig config_;
  KvSettings kv_;
  int64_t next_position_ = 0;
  std::vector<SlowHead> heads_;  // [n_layers * n_kv_heads]
};

}  // namespace winnow::test
