// The kernels' launchers: all that host code sees of the .cu files.
//
// Every pointer is device memory unless it says "host". T is the run's type, `type` below: q, the
// attention output, h, the normed rows, weights and K/V rows are T; the residual stream x, norm
// weights and logits are fp32. Sums are fp32. A launcher returns when its work is queued on
// `stream`; it fails with kDevice where the launch does. Nothing is read back, nothing depends on
// what device memory holds, so every launcher may be captured in a graph. Two runs over the same
// input give the same bits.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/gpu.h"
#include "src/base/dtype.h"
#include "src/device.h"
#include "src/rope.h"
#include "src/sampler.h"
#include "weights/config.h"
#include "weights/model.h"

namespace winnow::cuda {

using Stream = cudaStream_t;

/// Batches of up to so many rows are taken by gemv() and attention_decode(); others by matrix
/// products and attention_prefill().
constexpr int64_t kFewRows = 4;

/// The head layout of a model.
struct Heads {
  int64_t n_heads = 0;     // query heads
  int64_t n_kv_heads = 0;  // divides n_heads
  int64_t head_dim = 0;    // even, at most kMaxHeadDim

  constexpr int64_t group() const { return n_heads / n_kv_heads; }  // at most kMaxGroup
  constexpr int64_t q_size() const { return n_heads * head_dim; }
  constexpr int64_t kv_size() const { return n_kv_heads * head_dim; }
  constexpr int64_t qkv_size() const { return q_size() + 2 * kv_size(); }
};

inline Heads heads_of(const ModelConfig& config) {
  return {config.n_heads, config.n_kv_heads, config.head_dim};
}

/// x[i] = table[token[i]] as fp32.  table [vocab_size, hidden_size] of any type; batch.x [n,
/// hidden_size]
void embed(const Matrix& table, const Batch& batch, Stream stream);

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row.
/// x [n, size] fp32; weight [size] fp32; y [n, size] T
void rmsnorm(const float* x, const float* weight, float eps, int64_t n, int64_t size, void* y,
             DType type, Stream stream);

/// q, k and v get their bias (where it is not null), then each head of q and of k is normed as
/// rmsnorm() would, in place: what comes before the rotation in networks with QK norm.
struct HeadNormArgs {
  DType type = DType::kF32;  // of qkv
  void* qkv = nullptr;       // [n, qkv_size] type
  int64_t n = 0;             // rows
  Heads heads;
  const float* bias = nullptr;    // [qkv_size] fp32, or null
  const float* q_norm = nullptr;  // [head_dim] fp32
  const float* k_norm = nullptr;  // [head_dim] fp32
  float eps = 0;
};
void norm_heads(const HeadNormArgs& args, Stream stream);

/// x += bias, row by row.  x [n, size] fp32; bias [size] fp32
void add_bias(const float* bias, int64_t n, int64_t size, float* x, Stream stream);

/// Adds the bias, rotates q and k of every batch row to batch.position and puts k and v into the
/// row's place in every head: row kv.row_of(h, i) of KV head h, with its position and a mask of all
/// ones. The pairs and the layout of qkv are those of cpu::rope: q heads, k heads, v heads. Where
/// kv.places_in_cache(), KV head h and its group's query heads are rotated to the row's place
/// there, kv.visible_to(h, i) - 1, instead; k is then made of the key as k_plain stores it.
/// Nothing is written where *batch.stopped is 1.
struct RopeArgs {
  DType type = DType::kF32;      // T
  DType qkv_type = DType::kF32;  // T or fp32
  const void* qkv = nullptr;     // [n, qkv_size] qkv_type
  const float* bias = nullptr;   // [qkv_size] fp32, or null
  void* q = nullptr;             // [n, n_heads, head_dim] T
  Batch batch;                   // n and position
  Heads heads;
  KvRows kv;
};
void rope_and_store(const RopeArgs& args, const RopeFrequencies& frequencies, Stream stream);

/// k = rope(k_plain) for rows [0, visible[h]) of every KV head but the one at slot[h], each rotated
/// to kv.place_of(h, row): the bits that rope_and_store would leave there. For rows that are
/// places_in_cache(), of type T. The launch is sized for kv.capacity.
void rotate_rows(const KvRows& kv, const Heads& heads, DType type,
                 const RopeFrequencies& frequencies, Stream stream);

/// out = softmax(q k^T / sqrt(head_dim)) v. Batch row i sees rows [0, kv.visible_to(h, i)) of KV
/// head h whose mask has the query head's bit, within kv.window; a query head that sees none gives
/// zeros.
struct AttentionArgs {
  DType type = DType::kF32;   // T
  int64_t n = 0;              // batch rows
  const void* q = nullptr;    // [n, n_heads, head_dim] T
  void* out = nullptr;        // [n, n_heads, head_dim] T
  float* lse = nullptr;       // [n_heads, n] fp32, or null: see attention_prefill()
  void* workspace = nullptr;  // attention_decode_workspace_bytes(heads, n); unused by prefill
  void* exchange = nullptr;   // of attention_decode, see there; null: its plain kernel runs
  Heads heads;
  KvRows kv;
  Gpu gpu;  // that runs it
};

/// For any n; no workspace. Where args.lse is not null it becomes the log-sum-exp of every query's
/// scores, in base 2: log2 of the sum of 2^(q k log2(e) / sqrt(head_dim)) over the rows that it
/// sees, so that 2^(score - lse) is a row's weight; -infinity for a query that sees none.
void attention_prefill(const AttentionArgs& args, Stream stream);

/// For n up to 65535, meant for n <= kFewRows. args.lse as in attention_prefill(), but that the sum
/// may be one of weights rounded to T. The launch depends on n, heads, kv.capacity and gpu
/// alone. On tensor cores where args.exchange is given, T has 16 bits, heads are of 64 or 128 and
/// start on multiples of 16 bytes; the workspace is not used then.
/// exchange: attention_decode_exchange_bytes(heads, n, gpu) or more, aligned to 16, which nothing
/// else uses. Its owner fills it with bytes kExchangeByte once; every launch leaves it so.
void attention_decode(const AttentionArgs& args, Stream stream);
uint64_t attention_decode_workspace_bytes(const Heads& heads, int64_t n);
uint64_t attention_decode_exchange_bytes(const Heads& heads, int64_t n, const Gpu& gpu);
constexpr int kExchangeByte = 0xff;

/// h = silu(gate) * up, silu(z) = z / (1 + e^-z).
/// gate_up [n, 2 * size] wide_type (T or fp32): gate, then up; h [n, size] T
void swiglu(const void* gate_up, DType wide_type, int64_t n, int64_t size, void* h, DType type,
            Stream stream);

/// y = x W^T, or y += x W^T where `accumulate`, for n in 1..kFewRows.
/// w [rows, cols] T = w.type; x [n, cols] T; y [n, rows] y_type (T or fp32)
/// Nothing is written where *stopped is not 0.  stopped [1], or null
void gemv(const Matrix& w, const void* x, int64_t n, void* y, DType y_type, bool accumulate,
          Stream stream, const int32_t* stopped = nullptr);

/// What is wrong with logits that no token can be drawn from.
enum class LogitsFault : int32_t { kNone = 0, kNan = 1, kInfinity = 2, kAllMasked = 3 };

/// What sample() tells the host. id: the token, or the first logit with the fault.
struct Drawn {
  int32_t id = 0;
  LogitsFault fault = LogitsFault::kNone;
  int32_t number = 0;  // of the draw, from 1; written last
};

/// Where sample() leaves it: the n-th draw in slot (n - 1) % Device::kMaxDrawn.
struct DrawnSlots {
  Drawn* slots = nullptr;    // [Device::kMaxDrawn] host memory that the GPU can write
  int32_t* count = nullptr;  // [1] draws so far
};

/// Draws the token that winnow::sample draws from the same logits, to the bit. Reads n_sampled and
/// (where a repeat penalty is set) seen; writes token, n_sampled + 1, seen[token] = 1, stopped = 1
/// where it is a stop token, and what the host reads. With a fault, only the latter two. Where
/// stopped is 1 before, nothing is written. `logits` is not changed.
/// logits [n_ids] fp32; workspace sample_workspace_bytes(n_ids), aligned to 256
struct SampleArgs {
  const float* logits = nullptr;
  int32_t n_ids = 0;
  SamplerOptions options;
  StepState state;
  DrawnSlots drawn;
  void* workspace = nullptr;
};
void sample(const SampleArgs& args, Stream stream);

/// Enough for any options; grows with n_ids. Needs a current device.
uint64_t sample_workspace_bytes(int32_t n_ids);

/// Closes a pass over one row: *position grows by 1. Of every KV head, slot and visible grow by 1,
/// or, where ring_rows is not 0, slot goes round the last ring_rows of the visible rows. Nothing
/// changes where stopped is 1.
void advance(const StepState& state, Stream stream);

// Winnowing. Launches are sized for zones.max_rows, kv.capacity or kept.stride, whatever the rows
// held. Lists of scores begin on multiples of 16 bytes; what lies past a list's rows is not used.

/// score[head][r] = q k_r / sqrt(head_dim), summed in fp32, for rows [0, zones.rows[h]) of the
/// head's KV head; -infinity where the row's mask hides it, or the window of the token whose row is
/// the last. Each row of K is read once.
/// q [n_heads, head_dim] T; kv rows T; lists.n is heads.n_heads
void attention_scores(const void* q, const KvRows& kv, const Heads& heads, DType type,
                      const Zones& zones, const ScoreLists& lists, Stream stream);

/// score[head][r] = mean, sum or norm over the last n queries of softmax(q_i k /
/// sqrt(head_dim))[r], for rows [0, zones.rows[h]); query i is that of row zones.seen_rows(h) - n +
/// i, and sees the rows up to it, by mask and window; -infinity where no query of the head sees the
/// row. queries [n, n_heads, head_dim] T; lists.n is heads.n_heads workspace
/// window_attention_workspace_bytes(heads), aligned to 16
void window_attention(const void* queries, int64_t n, const KvRows& kv, const Heads& heads,
                      DType type, const Zones& zones, WindowSum how, const ScoreLists& lists,
                      void* workspace, Stream stream);
uint64_t window_attention_workspace_bytes(const Heads& heads);

/// score[head][r] = the norm of value r, of rows [0, zones.rows[h]); -infinity where the row's mask
/// hides it. kOutput reads w.o_factor, kOutputL1 w.o.  lists.n is heads.n_heads
void value_norms(const LayerWeights& w, const KvRows& kv, const Heads& heads, DType type,
                 const Zones& zones, ValueNorm how, const ScoreLists& lists, Stream stream);

/// grams[h] = W_O W_O^T of query head h.  grams [n_heads, head_dim, head_dim] fp32
void output_grams(const Matrix& o, const Heads& heads, float* grams, Stream stream);

// Lists of scores, of rows in the zones alone; see Device. A list belongs to KV head
// i / (lists.n / n_kv_heads).

void group_scores(const ScoreLists& from, GroupScore how, const Zones& zones, const ScoreLists& to,
                  Stream stream);
void scale_scores(const ScoreLists& lists, float add, const ScoreLists& by, const Zones& zones,
                  int64_t n_kv_heads, Stream stream);
void pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                 const ScoreLists& to, int64_t n_kv_heads, Stream stream);
/// workspace normalize_workspace_bytes(lists.n)
void normalize_scores(const ScoreLists& lists, const Zones& zones, int64_t n_kv_heads,
                      void* workspace, Stream stream);
uint64_t normalize_workspace_bytes(int64_t n_lists);
void promote_scores(const Zones& zones, const ScoreLists& lists, int64_t n_kv_heads, Stream stream);

/// score[i][r] = random_score(seed, i, position[r]) for the rows of attention_scores(), or
/// -infinity as above. lists.n is heads.n_heads
void random_scores(uint64_t seed, const KvRows& kv, const Heads& heads, const Zones& zones,
                   const ScoreLists& lists, Stream stream);

/// to.score[h][r] = mean, max or sum over the group of softmax(from.score[head])[r], each softmax
/// over the rows [0, zones.rows[h]) whose score is not -infinity; -infinity where no score of the
/// group's is. A NaN or +infinity of a query head makes NaN of all rows that it sees.
/// from.n is n_heads, to.n is n_kv_heads; workspace combine_workspace_bytes(n_heads)
void combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                    const ScoreLists& to, void* workspace, Stream stream);
uint64_t combine_workspace_bytes(int64_t n_heads);

/// score[h][r] = -||k_r||, summed in fp32; -infinity where the masks hide the row from the whole
/// group, or the window of the last row does. kv rows T; lists.n is heads.n_kv_heads
void key_norms(const KvRows& kv, const Heads& heads, DType type, const Zones& zones,
               const ScoreLists& lists, Stream stream);

/// score[h][r] = -cos(k_r, mean of k / ||k|| over all rows of the head), or -infinity as above.
/// kv rows T; lists.n is heads.n_kv_heads; workspace key_differences_workspace_bytes(heads)
void key_differences(const KvRows& kv, const Heads& heads, DType type, const Zones& zones,
                     const ScoreLists& lists, void* workspace, Stream stream);
uint64_t key_differences_workspace_bytes(const Heads& heads);

/// Each head's score of row r becomes the mean over the heads that hold a row r.
/// lists.n is n_kv_heads
void share_scores(const Zones& zones, const ScoreLists& lists, Stream stream);

/// The scores of `length` neighbours in a zone become their mean, -infinity aside.
/// lists.n is a multiple of n_kv_heads
void chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists, int64_t n_kv_heads,
                  Stream stream);

/// Adds a chunk's queries, turned back from the places and by the frequencies that they were
/// rotated with, to the sums; see Device::add_query_statistics.
struct QueryStatisticsArgs {
  DType type = DType::kF32;           // T
  int64_t n = 0;                      // rows of the chunk
  const void* q = nullptr;            // [n, n_heads, head_dim] T
  const int32_t* position = nullptr;  // [n]
  void* workspace = nullptr;          // query_statistics_workspace_bytes(heads, n)
  Heads heads;
};
void add_query_statistics(const QueryStatisticsArgs& args, const RopeFrequencies& frequencies,
                          const QueryStatistics& statistics, Stream stream);
/// No more than what rows of q, k and v take in any type.
uint64_t query_statistics_workspace_bytes(const Heads& heads, int64_t n);

/// score[h][r] = (expected weight + epsilon) ||v_r||; see Device::expected_scores. `rotation` is
/// the mean over the outlook's places. Leaves what the softmaxes are of in `logits`. logits.n is
/// heads.n_heads, lists.n is heads.n_kv_heads
struct ExpectedArgs {
  DType type = DType::kF32;  // T
  QueryStatistics statistics;
  Outlook outlook;
  KvRows kv;  // rows T
  Heads heads;
  Zones zones;
  void* workspace = nullptr;  // expected_scores_workspace_bytes(heads)
};
void expected_scores(const ExpectedArgs& args, const MeanRotation& rotation,
                     const ScoreLists& logits, const ScoreLists& lists, Stream stream);
uint64_t expected_scores_workspace_bytes(const Heads& heads);

/// Lists the rows of [0, zones.rows[h]) that stay, by ascending number: those outside of the zone,
/// with the masks they have, and those that a cut takes. lists.n decides about the latter:
///   heads.n_heads      bit g of the mask: list h * group + g takes the row
///   heads.n_kv_heads   list h takes it; the mask it has
///   0                  none
/// Writes kept.row, kept.mask and kept.count; kept.stride holds them all.
/// workspace list_kept_workspace_bytes(heads.n_kv_heads)
void list_kept(const KvRows& kv, const Heads& heads, const Zones& zones, const ScoreLists& lists,
               const KeptRows& kept, void* workspace, Stream stream);
uint64_t list_kept_workspace_bytes(int64_t n_kv_heads);

/// Rows outside of the zones get the score `outside`, what lies behind the rows of a list, up to
/// its stride, -infinity.  lists.n is n_kv_heads
void set_aside(const Zones& zones, const ScoreLists& lists, float outside, Stream stream);

/// to[first[h] + i] = score of row kept.row[h][i], for i < kept.count[h].
/// lists.n is n_kv_heads; first [n_kv_heads]
void take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first, float* to,
                 Stream stream);

/// taken[s] = rows of segment s that *cut takes.  taken [pool.n_segments]
void count_taken(const RowPool& pool, const Cut* cut, int32_t* taken, Stream stream);

/// Moves the rows that *cut takes, and their scores, to where `move` says; all other scores become
/// -infinity. Rows start on multiples of 4 bytes.
/// workspace squeeze_workspace_bytes(pool.entries, ...), aligned to 256
void squeeze_rows(const RowPool& pool, int64_t head_dim, DType type, const Cut* cut,
                  const RowMove& move, void* workspace, Stream stream);
uint64_t squeeze_workspace_bytes(int64_t entries, int64_t head_dim, DType type);

/// Row kept.row[h][i] of `from` becomes row i of `to`, for i < kept.count[h]: value, position, mask
/// (kept.mask's where that is not null) and key - k_plain where both have it, or else k. They do
/// not overlap. Rows of both are T and start on multiples of 4 bytes.
void gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to, const Heads& heads,
                 DType type, Stream stream);

/// kv.score[r] += sum over the batch rows i of the mean over the group of 2^(q_i k_r log2(e) /
/// sqrt(head_dim) - lse[head][i]), 0 where i does not see r. Nothing changes where *stopped is not
/// 0. The launch is sized for kv.capacity.
struct ColumnSumArgs {
  DType type = DType::kF32;          // T
  int64_t n = 0;                     // batch rows
  const void* q = nullptr;           // [n, n_heads, head_dim] T
  const float* lse = nullptr;        // [n_heads, n] of these queries, as attention leaves it
  const int32_t* stopped = nullptr;  // [1] or null
  Heads heads;
  KvRows kv;
};
void add_column_sums(const ColumnSumArgs& args, Stream stream);

/// See Device::choose_slots.  slot [n_kv_heads]
void choose_slots(const Batch& batch, const KvRows& kv, int64_t n_kv_heads, int64_t recent,
                  int32_t* slot, Stream stream);

/// score[h][r] = kv.score of row r, for rows [0, zones.rows[h]).  lists.n is n_kv_heads
void stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists, Stream stream);

/// kv.pages.keys of rows [0, kv.slot[h]). The launch is sized for kv.capacity.
void summarize_pages(const KvRows& kv, const Heads& heads, DType type, Stream stream);

/// Row kv.slot[h] joins its page, unless *stopped is not 0.  stopped [1] or null
void join_page(const KvRows& kv, const int32_t* stopped, const Heads& heads, DType type,
               Stream stream);

/// See Device::score_pages and Device::mask_pages. Launches are sized for kv.pages.stride and
/// kv.capacity.  q [n_heads, head_dim] T
void score_pages(const void* q, const KvRows& kv, const Heads& heads, DType type, Stream stream);
void mask_pages(const KvRows& kv, const Heads& heads, Stream stream);

}  // namespace winnow::cuda
