// What happens to a layer's rows when some of them are dropped, one function each; see Device,
// whose steps these are. K/V rows and queries are fp32.
#pragma once

#include <cstdint>

#include "src/device.h"
#include "src/kv/rows.h"
#include "src/rope.h"
#include "weights/config.h"
#include "weights/model.h"

namespace winnow::cpu {

/// k = rope(k_plain), every row at its place in the cache. The row at slot is left out: it is not
/// there yet, or leaves.
void rotate_rows(const ModelConfig& config, const KvRows& kv);

/// score = q k / sqrt(head_dim), -infinity where the mask or the window hides the row.
/// q [n_heads, head_dim] fp32; lists.n is n_heads
void attention_scores(const ModelConfig& config, const float* q, const KvRows& kv,
                      const Zones& zones, const ScoreLists& lists);

/// score = random_score(seed, query head, position), -infinity where the mask hides the row.
/// lists.n is n_heads
void random_scores(const ModelConfig& config, uint64_t seed, const KvRows& kv, const Zones& zones,
                   const ScoreLists& lists);

/// The group's softmaxes become one score a row. Where a query head's scores hold a NaN or
/// +infinity, all rows that it sees become NaN.  from.n is n_heads, to.n is n_kv_heads
void combine_scores(const ModelConfig& config, const ScoreLists& from, GroupScore how,
                    const Zones& zones, const ScoreLists& to);

/// Mean, sum or norm over the last n queries of their attention to each row.
/// queries [n, n_heads, head_dim] fp32; lists.n is n_heads
void window_attention(const ModelConfig& config, const float* queries, int64_t n, const KvRows& kv,
                      const Zones& zones, WindowSum how, const ScoreLists& lists);

/// The norm of each row's value. lists.n is n_heads
void value_norms(const ModelConfig& config, const LayerWeights& w, const KvRows& kv,
                 const Zones& zones, ValueNorm how, const ScoreLists& lists);

/// W_O W_O^T of every query head.  grams [n_heads, head_dim, head_dim] fp32
void output_grams(const ModelConfig& config, const Matrix& o, float* grams);

// Lists of scores, of rows in the zones alone. lists.n is n_heads or n_kv_heads.

/// The group's scores become one a row.  from.n is n_heads, to.n is n_kv_heads
void group_scores(const ModelConfig& config, const ScoreLists& from, GroupScore how,
                  const Zones& zones, const ScoreLists& to);
void scale_scores(const ModelConfig& config, const ScoreLists& lists, float add,
                  const ScoreLists& by, const Zones& zones);
void pool_scores(const ModelConfig& config, const ScoreLists& from, int64_t width, Pool how,
                 const Zones& zones, const ScoreLists& to);
void normalize_scores(const ModelConfig& config, const ScoreLists& lists, const Zones& zones);
void promote_scores(const ModelConfig& config, const Zones& zones, const ScoreLists& lists);

/// score = -||k||, -infinity where masks or the window hide the row.  lists.n is n_kv_heads
void key_norms(const ModelConfig& config, const KvRows& kv, const Zones& zones,
               const ScoreLists& lists);

/// score = -cos(k, mean of all k / ||k||), or -infinity as above.  lists.n is n_kv_heads
void key_differences(const ModelConfig& config, const KvRows& kv, const Zones& zones,
                     const ScoreLists& lists);

/// The KV heads' scores become their mean, row by row.  lists.n is n_kv_heads
void share_scores(const ModelConfig& config, const Zones& zones, const ScoreLists& lists);

/// The scores of `length` neighbours in a zone become their mean.
void chunk_scores(const ModelConfig& config, const Zones& zones, int64_t length,
                  const ScoreLists& lists);

/// Adds a chunk's queries, turned back by `frequencies`, which they were rotated with.
/// q [n, n_heads, head_dim] fp32
void add_query_statistics(const ModelConfig& config, const Batch& batch,
                          const RopeFrequencies& frequencies, const float* q,
                          const QueryStatistics& statistics);

/// score = (expected weight + epsilon) * ||v||; `rotation` is that of the outlook's places.
/// logits.n is n_heads, lists.n is n_kv_heads
void expected_scores(const ModelConfig& config, const QueryStatistics& statistics,
                     const Outlook& outlook, const MeanRotation& rotation, const KvRows& kv,
                     const Zones& zones, const ScoreLists& logits, const ScoreLists& lists);

/// The cut after the k greatest scores of each list's zone.
///   score, last_tie   of the last row that is taken; -0 becomes +0
///   +infinity, -1     none is taken: k is 0, or every score is -infinity
///   NaN, -1           a score of the zone is NaN, whatever k is
void top_k(const ModelConfig& config, const Zones& zones, const ScoreLists& lists);

/// kv.score += what each row gets of the attention of n queries, the mean over each group.
/// q [n, n_heads, head_dim] fp32; lse [n_heads, n] as attention() leaves it
void add_column_sums(const ModelConfig& config, int64_t n, const float* q, const float* lse,
                     const KvRows& kv);

/// slot[h] = the row of the least score among those of places below position - recent, which
/// becomes 0.
void choose_slots(const ModelConfig& config, int32_t position, const KvRows& kv, int64_t recent,
                  int32_t* slot);

/// score = kv.score.  lists.n is n_kv_heads
void stored_scores(const ModelConfig& config, const KvRows& kv, const Zones& zones,
                   const ScoreLists& lists);

/// Rows outside of the zones get the score `outside`, and what lies behind the rows -infinity.
/// lists.n is n_kv_heads
void set_aside(const ModelConfig& config, const Zones& zones, const ScoreLists& lists,
               float outside);

/// taken[s] = rows of segment s that the cut takes.  taken [n_segments]
void count_taken(const RowPool& pool, const Cut& cut, int32_t* taken);

/// to[first[h] + i] = score of row kept.row[h][i].  lists.n is n_kv_heads; first [n_kv_heads]
void take_scores(const ModelConfig& config, const ScoreLists& lists, const KeptRows& kept,
                 const int64_t* first, float* to);

/// The rows that the cut takes move down, segment by segment.  spare [pool.entries]
void squeeze_rows(const ModelConfig& config, const RowPool& pool, const Cut& cut,
                  const RowMove& move, float* spare);

/// The rows that stay, in ascending order, and their masks.
void list_kept(const ModelConfig& config, const KvRows& kv, const Zones& zones,
               const ScoreLists& lists, const KeptRows& kept);

/// The rows that stay, out of `from`, side by side into `to`.
void gather_rows(const ModelConfig& config, const KvRows& from, const KeptRows& kept,
                 const KvRows& to);

}  // namespace winnow::cpu
