// WatchedDevice's steps of winnowing.
#include "src/watch/watched_device.h"

namespace winnow {

void WatchedDevice::attention_scores(const void* q, const KvRows& kv, const Zones& zones,
                                     const ScoreLists& lists) {
  const Step step{.kind = StepKind::kAttentionScores, .kv = &kv, .zones = &zones, .lists = &lists};
  watch_.step(step, [&] { device_->attention_scores(q, kv, zones, lists); });
}

void WatchedDevice::random_scores(uint64_t seed, const KvRows& kv, const Zones& zones,
                                  const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kRandomScores, .kv = &kv, .zones = &zones, .lists = &lists},
              [&] { device_->random_scores(seed, kv, zones, lists); });
}

void WatchedDevice::combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                                   const ScoreLists& to) {
  watch_.step({.kind = StepKind::kCombineScores, .zones = &zones, .lists = &to},
              [&] { device_->combine_scores(from, how, zones, to); });
}

void WatchedDevice::top_k(const Zones& zones, const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kTopK, .zones = &zones, .lists = &lists},
              [&] { device_->top_k(zones, lists); });
}

void WatchedDevice::list_kept(const KvRows& kv, const Zones& zones, const ScoreLists& lists,
                              const KeptRows& kept) {
  const Step step{
      .kind = StepKind::kListKept, .kv = &kv, .zones = &zones, .lists = &lists, .kept = &kept};
  watch_.step(step, [&] { device_->list_kept(kv, zones, lists, kept); });
}

void WatchedDevice::gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to) {
  watch_.step({.kind = StepKind::kGatherRows, .kv = &to, .kept = &kept},
              [&] { device_->gather_rows(from, kept, to); });
}

void WatchedDevice::window_attention(const void* queries, int64_t n, const KvRows& kv,
                                     const Zones& zones, WindowSum how, const ScoreLists& lists) {
  const Step step{.kind = StepKind::kWindowAttention,
                  .kv = &kv,
                  .zones = &zones,
                  .lists = &lists,
                  .queries = n};
  watch_.step(step, [&] { device_->window_attention(queries, n, kv, zones, how, lists); });
}

void WatchedDevice::value_norms(const LayerWeights& w, const KvRows& kv, const Zones& zones,
                                ValueNorm how, const ScoreLists& lists) {
  const Step step{.kind = StepKind::kValueNorms,
                  .kv = &kv,
                  .zones = &zones,
                  .lists = &lists,
                  .value_norm = how};
  watch_.step(step, [&] { device_->value_norms(w, kv, zones, how, lists); });
}

void WatchedDevice::group_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                                 const ScoreLists& to) {
  watch_.step({.kind = StepKind::kGroupScores, .zones = &zones, .lists = &to},
              [&] { device_->group_scores(from, how, zones, to); });
}

void WatchedDevice::scale_scores(const ScoreLists& lists, float add, const ScoreLists& by,
                                 const Zones& zones) {
  watch_.step({.kind = StepKind::kScaleScores, .zones = &zones, .lists = &lists},
              [&] { device_->scale_scores(lists, add, by, zones); });
}

void WatchedDevice::pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                                const ScoreLists& to) {
  watch_.step({.kind = StepKind::kPoolScores, .zones = &zones, .lists = &to},
              [&] { device_->pool_scores(from, width, how, zones, to); });
}

void WatchedDevice::normalize_scores(const ScoreLists& lists, const Zones& zones) {
  watch_.step({.kind = StepKind::kNormalizeScores, .zones = &zones, .lists = &lists},
              [&] { device_->normalize_scores(lists, zones); });
}

void WatchedDevice::promote_scores(const Zones& zones, const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kPromoteScores, .zones = &zones, .lists = &lists},
              [&] { device_->promote_scores(zones, lists); });
}

void WatchedDevice::key_norms(const KvRows& kv, const Zones& zones, const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kKeyNorms, .kv = &kv, .zones = &zones, .lists = &lists},
              [&] { device_->key_norms(kv, zones, lists); });
}

void WatchedDevice::key_differences(const KvRows& kv, const Zones& zones, const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kKeyDifferences, .kv = &kv, .zones = &zones, .lists = &lists},
              [&] { device_->key_differences(kv, zones, lists); });
}

void WatchedDevice::share_scores(const Zones& zones, const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kShareScores, .zones = &zones, .lists = &lists},
              [&] { device_->share_scores(zones, lists); });
}

void WatchedDevice::chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kChunkScores, .zones = &zones, .lists = &lists},
              [&] { device_->chunk_scores(zones, length, lists); });
}

void WatchedDevice::add_query_statistics(const Batch& batch, const Activations& a,
                                         const QueryStatistics& statistics) {
  watch_.step({.kind = StepKind::kAddQueryStatistics, .batch = &batch, .activations = &a},
              [&] { device_->add_query_statistics(batch, a, statistics); });
}

void WatchedDevice::expected_scores(const QueryStatistics& statistics, const Outlook& outlook,
                                    const KvRows& kv, const Zones& zones, const ScoreLists& logits,
                                    const ScoreLists& lists) {
  const Step step{.kind = StepKind::kExpectedScores, .kv = &kv, .zones = &zones, .lists = &lists};
  watch_.step(step,
              [&] { device_->expected_scores(statistics, outlook, kv, zones, logits, lists); });
}

void WatchedDevice::set_aside(const Zones& zones, const ScoreLists& lists, float outside) {
  watch_.step({.kind = StepKind::kSetAside, .zones = &zones, .lists = &lists},
              [&] { device_->set_aside(zones, lists, outside); });
}

void WatchedDevice::count_taken(const RowPool& pool, const Cut* cut, int32_t* taken) {
  watch_.step({.kind = StepKind::kCountTaken}, [&] { device_->count_taken(pool, cut, taken); });
}

void WatchedDevice::squeeze_rows(const RowPool& pool, const Cut* cut, const RowMove& move,
                                 void* workspace) {
  watch_.step({.kind = StepKind::kSqueezeRows},
              [&] { device_->squeeze_rows(pool, cut, move, workspace); });
}

void WatchedDevice::take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first,
                                float* to) {
  watch_.step({.kind = StepKind::kTakeScores, .lists = &lists, .kept = &kept},
              [&] { device_->take_scores(lists, kept, first, to); });
}

void WatchedDevice::stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists) {
  watch_.step({.kind = StepKind::kStoredScores, .kv = &kv, .zones = &zones, .lists = &lists},
              [&] { device_->stored_scores(kv, zones, lists); });
}

// Steps of methods that go on choosing while text is written.

void WatchedDevice::add_column_sums(const Batch& batch, const Activations& a, const KvRows& kv) {
  watch_.step({.kind = StepKind::kAddColumnSums, .batch = &batch, .activations = &a, .kv = &kv},
              [&] { device_->add_column_sums(batch, a, kv); });
}

void WatchedDevice::choose_slots(const Batch& batch, const KvRows& kv, int64_t recent,
                                 int32_t* slot) {
  watch_.step({.kind = StepKind::kChooseSlots, .batch = &batch, .kv = &kv},
              [&] { device_->choose_slots(batch, kv, recent, slot); });
}

void WatchedDevice::summarize_pages(const KvRows& kv) {
  watch_.step({.kind = StepKind::kSummarizePages, .kv = &kv},
              [&] { device_->summarize_pages(kv); });
}

void WatchedDevice::join_page(const Batch& batch, const KvRows& kv) {
  watch_.step({.kind = StepKind::kJoinPage, .batch = &batch, .kv = &kv},
              [&] { device_->join_page(batch, kv); });
}

void WatchedDevice::score_pages(const void* q, const KvRows& kv) {
  watch_.step({.kind = StepKind::kScorePages, .kv = &kv}, [&] { device_->score_pages(q, kv); });
}

void WatchedDevice::mask_pages(const KvRows& kv) {
  watch_.step({.kind = StepKind::kMaskPages, .kv = &kv}, [&] { device_->mask_pages(kv); });
}

}  // namespace winnow
