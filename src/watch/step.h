// A step of a Device as those see it who watch a run: its name, what it was called with, and where
// in the run it stands. A new step of Device is one more line in StepKind and kStepNames, and one
// more function of WatchedDevice.
#pragma once

#include <array>
#include <cstdint>

#include "src/device.h"
#include "src/watch/phase.h"

namespace winnow {

enum class StepKind {
  kEmbed,
  kRotateRows,
  kQkv,
  kAttention,
  kAttentionOutput,
  kGateUp,
  kDown,
  kLogits,
  kSample,
  kAdvance,
  kAddColumnSums,
  kChooseSlots,
  kSummarizePages,
  kJoinPage,
  kScorePages,
  kMaskPages,
  kAttentionScores,  // from here on: winnowing
  kWindowAttention,
  kValueNorms,
  kGroupScores,
  kScaleScores,
  kPoolScores,
  kNormalizeScores,
  kPromoteScores,
  kKeyNorms,
  kKeyDifferences,
  kShareScores,
  kChunkScores,
  kAddQueryStatistics,
  kExpectedScores,
  kRandomScores,
  kStoredScores,
  kCombineScores,
  kTopK,
  kSetAside,
  kCountTaken,
  kSqueezeRows,
  kTakeScores,
  kListKept,
  kGatherRows,
};

/// Those of Device's functions, in the order of StepKind.
inline constexpr auto kStepNames = std::to_array<const char*>({"embed",
                                                               "rotate_rows",
                                                               "qkv",
                                                               "attention",
                                                               "attention_output",
                                                               "gate_up",
                                                               "down",
                                                               "logits",
                                                               "sample",
                                                               "advance",
                                                               "add_column_sums",
                                                               "choose_slots",
                                                               "summarize_pages",
                                                               "join_page",
                                                               "score_pages",
                                                               "mask_pages",
                                                               "attention_scores",
                                                               "window_attention",
                                                               "value_norms",
                                                               "group_scores",
                                                               "scale_scores",
                                                               "pool_scores",
                                                               "normalize_scores",
                                                               "promote_scores",
                                                               "key_norms",
                                                               "key_differences",
                                                               "share_scores",
                                                               "chunk_scores",
                                                               "add_query_statistics",
                                                               "expected_scores",
                                                               "random_scores",
                                                               "stored_scores",
                                                               "combine_scores",
                                                               "top_k",
                                                               "set_aside",
                                                               "count_taken",
                                                               "squeeze_rows",
                                                               "take_scores",
                                                               "list_kept",
                                                               "gather_rows"});
static_assert(kStepNames.size() == static_cast<size_t>(StepKind::kGatherRows) + 1);

constexpr const char* step_name(StepKind kind) {
  return kStepNames[static_cast<size_t>(kind)];
}

constexpr bool is_winnowing(StepKind kind) {
  return kind >= StepKind::kAttentionScores;
}

/// The arguments are null where the step has none of the kind, or where nobody needs to see them.
struct Step {
  StepKind kind = StepKind::kEmbed;
  const LayerWeights* weights = nullptr;
  const Batch* batch = nullptr;
  const Activations* activations = nullptr;
  const KvRows* kv = nullptr;
  const float* logits = nullptr;  // [n, vocab_size]
  const Zones* zones = nullptr;
  const ScoreLists* lists = nullptr;
  const KeptRows* kept = nullptr;
  int64_t queries = 0;                       // of window_attention
  ValueNorm value_norm = ValueNorm::kValue;  // of value_norms
};

/// Where a step stands.
struct Place {
  StepKind kind = StepKind::kEmbed;
  Phase phase = Phase::kPrefill;  // kCompact for steps of winnowing
  int64_t layer = -1;             // -1: in none
};

}  // namespace winnow
