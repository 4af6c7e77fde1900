// Random events - prompts, tokens, failures - on a winnowed sequence, and what must hold after
// each.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "src/base/error.h"
#include "src/kv/random_score.h"
#include "tests/support/slow_cache.h"
#include "tests/support/slow_meter.h"
#include "tests/support/tight_device.h"
#include "tests/support/winnow_cases.h"

namespace winnow::test {

/// The score that the method "random" of seed 0 gives a row.
inline double random_method_score(int64_t layer, int64_t head, int32_t position) {
  const auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  };
  return random_score(mix(mix(0) + (uint64_t(layer) + 1) * 0x9e3779b97f4a7c15U), head, position);
}

class EventPlayer {
 public:
  static constexpr int64_t kLongest = 60;  // prompt
  static constexpr int64_t kText = 200;

  EventPlayer(const Model& model, BlockPages::State& pages, const SequenceOptions& options,
              uint32_t seed)
      : model_(model),
        pages_(pages),
        kv_(options.kv),
        random_(seed),
        expected_(model.config, options.kv),
        winnowed_(model.network(), options),
        full_(model.network(), kText, 0) {}

  void play(int events) {
    for (int i = 0; i < events && room() > 0; ++i) {
      if (expected_.next_position() == 0 || below(4) == 0) {
        prefill(std::min(1 + below(below(3) == 0 ? kLongest : 9), room()));
      } else {
        for (int64_t j = below(14); j >= 0 && room() > 0; --j) decode();
      }
    }
  }

  int failures() const { return failures_; }

 private:
  /// All that a failure must leave as it was.
  struct Snapshot {
    State state;
    std::vector<int32_t> counters;
    std::vector<uint8_t> seen;
    std::vector<double> meters;
    uint64_t used = 0;
    uint64_t committed = 0;
  };

  int64_t below(int64_t n) { return int64_t(random_() % uint64_t(n)); }
  int64_t room() const { return kText - expected_.next_position(); }
  bool is_empty() const { return expected_.next_position() == 0; }

  /// Another one after a pass that made the cache anew.
  const void* store() const { return is_empty() ? nullptr : winnowed_.cache().layer(0).position; }

  /// The device's position, and slot, visible and ring_rows of all heads.
  std::vector<int32_t> counters() const {
    std::vector<int32_t> all = downloaded(*model_.device, winnowed_.step_state().position, 1);
    for (int64_t l = 0; l < model_.config.n_layers && !is_empty(); ++l) {
      const KvRows kv = winnowed_.cache().layer(l);
      for (const int32_t* part : {kv.slot, kv.visible, kv.ring_rows}) {
        const auto list = downloaded(*model_.device, part, model_.config.n_kv_heads);
        all.insert(all.end(), list.begin(), list.end());
      }
    }
    return all;
  }

  Snapshot snapshot() const {
    const KvMeter& m = winnowed_.meter();
    const Arena& arena = model_.device->arena();
    return {
        .state = state_of(winnowed_, model_),
        .counters = counters(),
        .seen = downloaded(*model_.device, winnowed_.step_state().seen, model_.config.vocab_size),
        .meters = {m.footprint(), m.peak_fraction(), m.occupancy(), double(m.most_held())},
        .used = arena.used(),
        .committed = arena.committed()};
  }

  void check_same_as(const Snapshot& before) const {
    const Snapshot now = snapshot();
    check_same(now.state, before.state);
    CHECK(now.counters == before.counters);
    CHECK(now.seen == before.seen);
    CHECK(now.meters == before.meters);
    CHECK(now.used == before.used);
    CHECK(now.committed == before.committed);
    CHECK(winnowed_.cache().next_position() == expected_.next_position());
  }

  /// Whether `f` failed, and left all as it was.
  bool fails(const std::function<void()>& f) {
    const Snapshot before = snapshot();
    bool failed = false;
    try {
      f();
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::kMemory);
      failed = true;
    } catch (const std::runtime_error&) {  // a hook's
      failed = true;
    }
    pages_.commits_before_failure = std::numeric_limits<int>::max();
    if (failed) check_same_as(before);
    failures_ += failed ? 1 : 0;
    return failed;
  }

  /// A prompt that may fail: at a hook, or for want of memory.
  void prefill(int64_t n) {
    CAPTURE(n);
    const std::vector<int32_t> prompt = random_tokens(n, model_.config.vocab_size, random_());
    const KeptRecord before = winnowed_.cache().kept();
    const void* const old_store = store();
    std::vector<LayerCopy> layers;
    PrefillHooks hooks;
    hooks.layer_rows = [&](const LayerRows& rows) { layers.push_back(copy_layer(model_, rows)); };
    if (below(4) == 0) {
      hooks.progress = [stop_at = 1 + below(model_.config.n_layers * n)](uint64_t done, uint64_t) {
        if (int64_t(done) >= stop_at) throw std::runtime_error("stop");
      };
    }
    if (below(4) == 0) pages_.commits_before_failure = int(below(24));
    if (fails([&] { winnowed_.prefill(prompt, hooks); })) return;

    const bool selects = expected_.selects(n);
    const bool made_anew = old_store != nullptr && store() != old_store;
    text_.insert(text_.end(), prompt.begin(), prompt.end());
    const SlowCache old = expected_;
    expected_.append(n);
    hide_dropped_of(before);
    full_.prefill(prompt);
    finish(old, n, selects, made_anew || selects, &layers);
  }

  /// A token that may fail where rows are selected.
  void decode() {
    const int32_t token = random_tokens(1, model_.config.vocab_size, random_())[0];
    const void* const old_store = store();
    KeptRecord before = winnowed_.cache().kept();
    for (size_t i = 0; i < before.heads.size(); ++i) {
      const HeadRows head = winnowed_.cache().head(int64_t(i) / model_.config.n_kv_heads,
                                                   int64_t(i) % model_.config.n_kv_heads);
      if (head.ring_rows > 0) before.heads[i].mask[size_t(head.rows - head.ring_rows)] = 0;
    }
    winnowed_.set_next_token(token);
    if (below(4) == 0) pages_.commits_before_failure = int(below(24));
    if (fails([&] { winnowed_.decode(); })) return;

    const bool selects = store() != old_store;
    if (kv_.recompact == 0) CHECK(!selects);
    text_.push_back(token);
    const SlowCache old = expected_;
    expected_.step();
    hide_dropped_of(before);
    step(full_, token);
    finish(old, 1, selects, selects, nullptr);
    if (kv_.recompact > 0) {
      CHECK(expected_.most_rows() < std::max(kv_.budget, most_then_) + kv_.recompact);
    }
  }

  void hide_dropped_of(const KeptRecord& record) {
    if (record.n_tokens > 0) hide_dropped(full_, model_, record);
  }

  /// After a pass of `n` rows that the cache now has.
  void finish(const SlowCache& old, int64_t n, bool selects, bool beside,
              const std::vector<LayerCopy>* layers) {
    check_logits();
    if (selects) select(layers);
    if (selects || layers != nullptr) most_then_ = expected_.most_rows();
    meter_.count(old, expected_, n, beside, selects);
    meter_.check(winnowed_.meter());
    check_rows();
    CHECK(pages_.committed == model_.device->arena().committed());
  }

  /// What the settings keep of all rows; exactly, where the scores are known.
  void select(const std::vector<LayerCopy>* layers) {
    const bool draws = kv_.policy->name() == "random";
    const bool known = draws || layers != nullptr || !kv_.policy->scores_rows();
    if (!known || kv_.group != Group::kHead) {
      CHECK(expected_.select_like(winnowed_.cache().kept()) == "");
      return;
    }
    const SlowCache old = expected_;
    expected_.select([&](int64_t l, int64_t head, size_t row) {
      const int64_t h = head / model_.config.group();
      if (draws) return random_method_score(l, head, old.head(l, h).rows[row].position);
      const LayerCopy& layer = (*layers)[size_t(l)];
      const std::vector<float> k = as_floats(layer.k[size_t(h)][row], DType::kF32);
      double dot = 0;
      for (size_t d = 0; d < k.size(); ++d) {
        dot += double{layer.q[size_t(head) * k.size() + d]} * k[d];
      }
      return dot;
    });
  }

  void check_rows() const {
    const KeptRecord kept = winnowed_.cache().kept();
    const std::vector<int32_t> device = counters();
    CHECK(device[0] == expected_.next_position());
    const int64_t heads = model_.config.n_kv_heads;
    for (int64_t i = 0; i < model_.config.n_layers * heads; ++i) {
      const int64_t l = i / heads, h = i % heads;
      CAPTURE(l);
      CAPTURE(h);
      const SlowHead& expected = expected_.head(l, h);
      const HeadRows head = winnowed_.cache().head(l, h);
      REQUIRE(head.rows == std::ssize(expected.rows));
      REQUIRE(head.rows <= head.room);
      CHECK(head.ring_rows == expected.ring_rows);
      for (size_t r = 0; r < expected.rows.size(); ++r) {
        REQUIRE(kept.head(l, h).position[r] == expected.rows[r].position);
        REQUIRE(head_bits(model_, kept.head(l, h).mask[r]) == expected.rows[r].mask);
      }
      const int32_t* counter = &device[size_t(1 + 3 * l * heads + h)];
      CHECK(counter[0] == head.slot());
      CHECK(counter[heads] == head.visible());
      CHECK(counter[2 * heads] == head.ring_rows);
    }
  }

  /// Places in the cache have no full cache to compare with; but in one layer, with the same rows
  /// in all heads, they are the places of a text of those rows' tokens.
  void check_logits() const {
    const std::vector<float> logits = last_logits(winnowed_, model_);
    if (!kv_.places_in_cache) {
      CHECK(nmse(logits, last_logits(full_, model_)) < 1e-9);
    } else if (model_.config.n_layers == 1 && kv_.policy->name() == "streaming") {
      std::vector<int32_t> left;
      for (const SlowRow& row : expected_.head(0, 0).rows) {
        left.push_back(text_[size_t(row.position)]);
      }
      Sequence dense(model_.network(), kText, 0);
      dense.prefill(left);
      CHECK(nmse(logits, last_logits(dense, model_)) < 1e-9);
    }
  }

  const Model& model_;
  BlockPages::State& pages_;
  KvSettings kv_;
  std::mt19937 random_;
  std::vector<int32_t> text_;
  SlowCache expected_;
  SlowMeter meter_;
  Sequence winnowed_;
  Sequence full_;
  int64_t most_then_ = 0;  // rows of a head after the last prompt or selection
  int failures_ = 0;
};

}  // namespace winnow::test
