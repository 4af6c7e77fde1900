// A device: the steps of the forward pass, as coarse as they can be fused, over memory of its own.
//
// The pass itself is written once, in forward.cpp. A device says how each step is computed; the CPU
// is the reference for every other. Shapes use the names of ModelConfig. "T" is the device's
// compute_type(): q, attention output, h and K/V rows are of that type; the residual stream x and
// the logits are always fp32. All pointers are device memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "src/arena.h"
#include "src/base/dtype.h"
#include "src/device_profiler.h"
#include "src/kv/rows.h"
#include "src/sampler.h"
#include "weights/loader.h"
#include "weights/model.h"

namespace winnow {

/// Rows that go through the network together: a chunk of a prompt, or the one token of a decode
/// step.
struct Batch {
  int64_t n = 0;                      // rows
  const int32_t* token = nullptr;     // [n]
  const int32_t* position = nullptr;  // [n] place in the text, from 0
  int64_t length = 0;  // tokens of the text after the whole pass; 0: each row's place + 1 (decode)
  float* x = nullptr;  // [n, hidden_size] fp32: the residual stream
  const int32_t* stopped = nullptr;  // [1] not 0: no K/V row and no logits are written; or null
};

/// Rows [first, first + n) of a batch.
inline Batch slice(const Batch& batch, int64_t first, int64_t n, int64_t hidden_size) {
  return {.n = n,
          .token = batch.token + first,
          .position = batch.position + first,
          .length = batch.length,
          .x = batch.x + first * hidden_size,
          .stopped = batch.stopped};
}

/// What a batch leaves between one step and the next.
struct Activations {
  void* q = nullptr;          // [n, n_heads, head_dim] T
  void* attention = nullptr;  // [n, n_heads, head_dim] T
  void* h = nullptr;          // [n, intermediate_size] T
  void* workspace = nullptr;  // workspace_bytes(n): what a device needs inside a step
  float* lse = nullptr;  // [n_heads, n] fp32: what attention() divided by, as its log2; or null
};

/// Stop tokens that a device can look for by itself.
constexpr int64_t kMaxStopIds = 32;

/// What decode steps read and leave behind, so that the host decides nothing between them.
///
/// Steps may be queued before it is known what the ones before them drew. Once a stop token was
/// drawn, or nothing could be, `stopped` is 1 and all later steps leave everything as it is.
struct StepState {
  int32_t* token = nullptr;      // [1] the token that the next step reads
  int32_t* position = nullptr;   // [1] its place in the text
  int32_t* n_sampled = nullptr;  // [1] tokens drawn so far: the sampler's counter
  int32_t* stopped = nullptr;    // [1] 0 or 1
  int32_t* stop_ids = nullptr;   // [kMaxStopIds] the text's stop tokens, then -1
  int32_t* slot = nullptr;       // [n_layers * n_kv_heads] of all layers' KvRows
  int32_t* visible = nullptr;    // [n_layers * n_kv_heads]
  int32_t* ring_rows = nullptr;  // [n_layers * n_kv_heads]
  // A head that comes to hold ring_at rows becomes a ring of its last ring_later. 0: it never does;
  // null: none does.
  const int32_t* ring_at = nullptr;     // [n_layers * n_kv_heads]
  const int32_t* ring_later = nullptr;  // [n_layers * n_kv_heads]
  int64_t n_counts = 0;                 // n_layers * n_kv_heads
  uint8_t* seen = nullptr;  // [vocab_size] 1 for the tokens of the text, for the repeat penalty
};

/// Bytes that a run may need at most, region by region: address space is reserved for so much.
struct MemoryPlan {
  uint64_t weights = 0;
  uint64_t o_factors = 0;  // of these: LayerWeights::o_factor, where they are to be made
  uint64_t kv = 0;         // K/V rows, positions, masks
  uint64_t kv_again = 0;   // a second time, where a cache is made anew beside the one it replaces
  uint64_t scratch = 0;    // the residual stream, activations, what a device needs inside a step

  uint64_t total() const { return weights + kv + kv_again + scratch; }

  /// Grows each region to what `other` needs, for runs that come one after the other.
  void cover(const MemoryPlan& other) {
    weights = std::max(weights, other.weights);
    o_factors = std::max(o_factors, other.o_factors);
    kv = std::max(kv, other.kv);
    kv_again = std::max(kv_again, other.kv_again);
    scratch = std::max(scratch, other.scratch);
  }
};

/// A sequence of steps that is run again and again, and differs from run to run only by what lies
/// in device memory.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void run() = 0;
};

/// The most that a device reaches, measured on it: what the speed of its steps is held against.
struct Ceilings {
  double read_gbps = 0;    // GB/s of a long stream that is only read
  double copy_gbps = 0;    // GB/s of a long copy, read and written together
  double gemm_tflops = 0;  // TFLOP/s of a large matrix product in compute_type()
};

class Device : public WeightSink {
 public:
  /// For messages and JSON: "cpu (2 threads)".
  virtual std::string name() const = 0;

  /// The version of what drives it; empty where nothing does.
  virtual std::string driver() const = 0;

  /// Bytes of memory that are free for a run now.
  virtual uint64_t available_bytes() const = 0;

  /// Takes part of that memory for a moment. Fails with kMemory.
  virtual Ceilings measure_ceilings() = 0;

  /// Reserves the regions. Once, before anything else below. Fails with kMemory.
  virtual void reserve(const MemoryPlan& plan) = 0;

  virtual const Arena& arena() const = 0;
  /// Two regions that take turns: a cache that is made anew grows in the one, while the other still
  /// holds it as it was. `side` is 0 or 1.
  virtual Region& kv_region(int side) = 0;
  virtual Region& scratch_region() = 0;

  /// The type of activations and K/V rows.
  virtual DType compute_type() const = 0;

  /// Rows that a prefill puts through a layer at once where the user does not say.
  virtual int64_t default_prefill_rows() const = 0;

  /// Bytes of Activations::workspace for batches of up to `max_rows` rows.
  virtual uint64_t workspace_bytes(int64_t max_rows) const = 0;

  virtual void upload(void* to, const void* from, uint64_t bytes) = 0;
  virtual void download(void* to, const void* from, uint64_t bytes) = 0;

  /// Within the device's memory, in turn with its steps. `from` and `to` do not overlap.
  virtual void copy(void* to, const void* from, uint64_t bytes) = 0;
  virtual void clear(void* to, uint64_t bytes) = 0;  // all bytes 0

  /// Waits until every step that was asked for is done; what went wrong in one is reported here.
  virtual void synchronize() = 0;

  /// Element i of `to` [n] becomes a uniform number of mean 0 and standard deviation `scale` that
  /// depends on `seed` and i alone: the same on every device, rounded to `type`.
  virtual void fill_random(void* to, DType type, uint64_t n, uint64_t seed, float scale) = 0;

  /// x = table[token].  table [vocab_size, hidden_size]
  virtual void embed(const Matrix& table, const Batch& batch) = 0;

  /// q, k, v = rope(rmsnorm(x) Wqkv^T + bias): q for attention(), k and v as the batch's rows of
  /// `kv`. Where the layer has q_norm and k_norm, each head of q and k is normed before it turns.
  virtual void qkv(const LayerWeights& w, const Batch& batch, const Activations& a,
                   const KvRows& kv) = 0;

  /// attention = softmax(q k^T / sqrt(head_dim)) v over the rows that each query head sees; zeros
  /// for a query head that sees none. Where a.lse is not null it becomes the log-sum-exp of each
  /// query, in base 2: log2 of the sum of 2^(q k log2(e) / sqrt(head_dim)) over the rows that it
  /// sees, -infinity where there is none.
  virtual void attention(const Batch& batch, const Activations& a, const KvRows& kv) = 0;

  /// x += attention Wo^T + bias
  virtual void attention_output(const LayerWeights& w, const Batch& batch,
                                const Activations& a) = 0;

  /// h = silu(rmsnorm(x) Wgate^T) * (rmsnorm(x) Wup^T)
  virtual void gate_up(const LayerWeights& w, const Batch& batch, const Activations& a) = 0;

  /// x += h Wdown^T
  virtual void down(const LayerWeights& w, const Batch& batch, const Activations& a) = 0;

  /// logits = rmsnorm(x) Wlm^T.  logits [n, vocab_size] fp32
  virtual void logits(const ModelWeights& w, const Batch& batch, const Activations& a,
                      float* logits) = 0;

  /// Draws the next token from the first `n_ids` logits: *token, *n_sampled and seen change, and
  /// *stopped becomes 1 where it is a stop token or the logits are not finite. Nothing happens
  /// where *stopped is 1 already.  logits [vocab_size] fp32
  virtual void sample(const float* logits, int32_t n_ids, const SamplerOptions& options,
                      const StepState& state) = 0;

  /// Waits for the oldest token that was drawn and not yet taken, and returns it. Fails with
  /// kInternal where the logits were not finite. At most kMaxDrawn may wait.
  virtual int32_t take_drawn() = 0;
  static constexpr int64_t kMaxDrawn = 16;

  /// How many steps are worth queuing behind one whose token was not taken; 0: none.
  virtual int64_t steps_ahead() const = 0;

  /// Closes a pass over one row: *position grows by 1; slot and visible of every head grow by 1, or
  /// slot goes on to the next row of the head's ring, which a full head has just become. Nothing
  /// happens where *stopped is 1.
  virtual void advance(const StepState& state) = 0;

  // Winnowing: what happens to a layer's rows between its last step of a prompt and the next layer.

  /// k = rope(k_plain) for rows [0, visible[h]) of every head, each at its place_of(). The row at
  /// slot, which qkv() is about to write, may hold anything. For rows that are places_in_cache().
  virtual void rotate_rows(const KvRows& kv) = 0;

  /// score[head][r] = q k_r / sqrt(head_dim) for rows [0, rows[h]) of the head's KV head, -infinity
  /// where the row's mask hides it, or kv.window does: it is the query of row seen_rows(h) - 1.
  /// q [n_heads, head_dim] T; lists.n is n_heads
  virtual void attention_scores(const void* q, const KvRows& kv, const Zones& zones,
                                const ScoreLists& lists) = 0;

  /// score[i][r] = a uniform number in [0, 1) that depends on seed, i and position[r] alone, or
  /// -infinity as above.  lists.n is n_heads
  virtual void random_scores(uint64_t seed, const KvRows& kv, const Zones& zones,
                             const ScoreLists& lists) = 0;

  /// to.score[h][r] = mean, max or sum over the group of softmax(score[head])[r], each softmax over
  /// the rows [0, rows[h]) that the query head sees; -infinity where none of the group sees the
  /// row. from.n is n_heads, to.n is n_kv_heads
  virtual void combine_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                              const ScoreLists& to) = 0;

  /// score[head][r] = mean, sum or Euclidean norm over the prompt's last n queries of softmax(q_i k
  /// / sqrt(head_dim))[r], for rows [0, rows[h]); -infinity where no query of the head sees the
  /// row. Query i is that of row seen[h] - n + i and sees the rows up to it, by mask and window.
  /// queries [n, n_heads, head_dim] T; lists.n is n_heads
  virtual void window_attention(const void* queries, int64_t n, const KvRows& kv,
                                const Zones& zones, WindowSum how, const ScoreLists& lists) = 0;

  /// score[head][r] = the norm of the row's value, for rows [0, rows[h]); -infinity where the mask
  /// hides the row. kOutput needs w.o_factor.  lists.n is n_heads
  virtual void value_norms(const LayerWeights& w, const KvRows& kv, const Zones& zones,
                           ValueNorm how, const ScoreLists& lists) = 0;

  // The steps from here to promote_scores() read and write scores of rows in the zones alone.

  /// As combine_scores, of scores that are weights already.
  virtual void group_scores(const ScoreLists& from, GroupScore how, const Zones& zones,
                            const ScoreLists& to) = 0;

  /// score = (score + add) * by.score; -infinity where one of the two is, and +infinity stays.
  virtual void scale_scores(const ScoreLists& lists, float add, const ScoreLists& by,
                            const Zones& zones) = 0;

  /// to.score = average or greatest of the `width` (odd) scores around each row. What lies beyond
  /// the zone and what is -infinity count as 0 in the average and not at all in the greatest; a row
  /// of -infinity stays so.
  virtual void pool_scores(const ScoreLists& from, int64_t width, Pool how, const Zones& zones,
                           const ScoreLists& to) = 0;

  /// Divides by the sum over all lists; nothing changes where it is 0. -infinity stays, and is not
  /// summed up.
  virtual void normalize_scores(const ScoreLists& lists, const Zones& zones) = 0;

  /// What a list's cut takes gets +infinity, so that the next cut takes it too.
  virtual void promote_scores(const Zones& zones, const ScoreLists& lists) = 0;

  /// grams[h] = W_O W_O^T of query head h, W_O [head_dim, hidden_size] the transpose of its columns
  /// of w.o.  grams [n_heads, head_dim, head_dim] fp32
  virtual void output_grams(const LayerWeights& w, float* grams) = 0;

  /// score[h][r] = -||k_r||_2 for rows [0, rows[h]), -infinity where the masks hide the row from
  /// all of the group, or kv.window does as above.  lists.n is n_kv_heads
  virtual void key_norms(const KvRows& kv, const Zones& zones, const ScoreLists& lists) = 0;

  /// score[h][r] = -cos(k_r, mean over all rows j in [0, rows[h]) of k_j / ||k_j||), or -infinity
  /// as for key_norms. A key of length 0 has no direction: it adds nothing to the mean, and its
  /// cosine is 0.  lists.n is n_kv_heads
  virtual void key_differences(const KvRows& kv, const Zones& zones, const ScoreLists& lists) = 0;

  /// Every KV head's row r gets the mean of the KV heads' scores of their rows r, over those that
  /// hold so many; -infinity if one of these is. For heads whose rows are the same tokens.
  /// lists.n is n_kv_heads
  virtual void share_scores(const Zones& zones, const ScoreLists& lists) = 0;

  /// Every row of a zone gets the mean of its run: `length` neighbouring rows, counted from
  /// begin[h]; fewer at the zone's end. Rows of -infinity stay so and are left out of the mean.
  /// lists.n is n_heads or n_kv_heads
  virtual void chunk_scores(const Zones& zones, int64_t length, const ScoreLists& lists) = 0;

  /// Adds the queries a.q of a prompt's chunk (batch.length > 0) to the statistics, turned back
  /// from batch.position to place 0, without the amplitude that the rotation gave them; those of
  /// places below kSkipped are left out. Uses a.workspace. Not for rows that are places_in_cache().
  virtual void add_query_statistics(const Batch& batch, const Activations& a,
                                    const QueryStatistics& statistics) = 0;

  /// What attention the rows are to expect from queries like those of the statistics, of mean m and
  /// covariance C per query head. With R the mean rotation to the outlook's places, m' = R m and
  /// C' = R C R^T:
  ///   z[head][r] = m' k_r / sqrt(head_dim) + k_r^T C' k_r / (2 head_dim)
  ///   score[h][r] = (mean over the group of softmax(z[head])[r] + epsilon) * ||v_r||_2
  /// each softmax over the rows [0, rows[h]) that the query head sees, by mask and window as in
  /// attention_scores; -infinity where none of the group does. Leaves z in `logits`.
  /// logits.n is n_heads, lists.n is n_kv_heads
  virtual void expected_scores(const QueryStatistics& statistics, const Outlook& outlook,
                               const KvRows& kv, const Zones& zones, const ScoreLists& logits,
                               const ScoreLists& lists) = 0;

  /// The cut after the k greatest scores of each list's zone, of equal ones the lower row first: k
  /// exactly, or all rows of the zone that are not -infinity where they are fewer. One list alone
  /// may be of any length: zone 0 is its own.
  virtual void top_k(const Zones& zones, const ScoreLists& lists) = 0;

  /// Lists the rows that stay: those outside of the zones, with the masks they have, and those that
  /// a list takes, seen from now on by the query heads whose lists took them (lists.n == n_heads)
  /// or with the mask they have (lists.n == n_kv_heads). Writes row, mask and count of `kept`.
  virtual void list_kept(const KvRows& kv, const Zones& zones, const ScoreLists& lists,
                         const KeptRows& kept) = 0;

  /// Rows outside of the zones get the score `outside`, and what lies behind the rows of a list,
  /// up to the list's stride, -infinity.  lists.n is n_kv_heads
  virtual void set_aside(const Zones& zones, const ScoreLists& lists, float outside) = 0;

  /// taken[s] = rows of segment s that *cut takes, entries being the rows' numbers.
  /// taken [n_segments]
  virtual void count_taken(const RowPool& pool, const Cut* cut, int32_t* taken) = 0;

  /// Moves the rows that *cut takes to where `move` says, in their order and within the same
  /// memory, with their scores; all other scores become -infinity, those between segments too.
  /// workspace squeeze_workspace_bytes(pool.entries)
  virtual void squeeze_rows(const RowPool& pool, const Cut* cut, const RowMove& move,
                            void* workspace) = 0;
  virtual uint64_t squeeze_workspace_bytes(int64_t entries) const = 0;

  /// to[first[h] + i] = lists.score[h][kept.row[h][i]], for i < kept.count[h].
  /// lists.n is n_kv_heads; first [n_kv_heads]
  virtual void take_scores(const ScoreLists& lists, const KeptRows& kept, const int64_t* first,
                           float* to) = 0;

  /// Row kept.row[h][i] of `from` becomes row i of `to`, for i < kept.count[h]: value, position,
  /// mask, score where both have it, and key - k_plain where both have it, or else k. `from` and
  /// `to` do not overlap.
  virtual void gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to) = 0;

  // Decode steps of methods that go on choosing while text is written.

  /// kv.score[r] += sum over the batch rows i of the mean over the group of row r's weight in the
  /// softmax of query head head, 2^(q_i k_r log2(e) / sqrt(head_dim) - lse[head][i]), 0 where i
  /// does not see r: the second pass over a prompt's queries, after attention() has left lse.
  /// Nothing changes where *batch.stopped is not 0.
  virtual void add_column_sums(const Batch& batch, const Activations& a, const KvRows& kv) = 0;

  /// The row that a decode step's token goes over: slot[h] = the row of the least kv.score among
  /// those whose place in the text is not one of the last `recent` before the token's; of equal
  /// ones that of the lowest place; the lowest place of all where each is recent or NaN. The row's
  /// score becomes 0. Nothing changes where *batch.stopped is not 0.
  /// Of rows [0, visible[h]), all held.  slot [n_kv_heads], the one that kv has
  virtual void choose_slots(const Batch& batch, const KvRows& kv, int64_t recent,
                            int32_t* slot) = 0;

  /// score[h][r] = kv.score of row r, for rows [0, rows[h]).  lists.n is n_kv_heads
  virtual void stored_scores(const KvRows& kv, const Zones& zones, const ScoreLists& lists) = 0;

  /// Makes kv.pages.keys of all rows that are held: rows [0, slot[h]) of every head, none of which
  /// is a ring.
  virtual void summarize_pages(const KvRows& kv) = 0;

  /// The row at slot[h] of a decode step, which qkv() wrote, joins the summary of its page. Nothing
  /// changes where *batch.stopped is not 0.
  virtual void join_page(const Batch& batch, const KvRows& kv) = 0;

  /// A decode step's scores of pages: pages.score[head][p] = sum over d of max(q_d m_d, q_d M_d) of
  /// page p, for all pages of visible[h] rows but the last; -infinity where the page lies before
  /// kv.window. pages.zone becomes those pages, and k = pages.n_read - 1 of them.
  /// q [n_heads, head_dim] T
  virtual void score_pages(const void* q, const KvRows& kv) = 0;

  /// pages.mask of rows [0, visible[h]) becomes the mask that the row has, less the query heads
  /// that read neither its page, by pages.cut, nor the last one because it is that.
  virtual void mask_pages(const KvRows& kv) = 0;

  /// Makes `steps`, which calls steps of this device and nothing else, ready to be run repeatedly:
  /// a device may call it now, once, and replay what it launched (a CUDA graph), or at every run.
  /// Nothing is computed yet.
  virtual std::unique_ptr<Recording> record(std::function<void()> steps) = 0;

  /// Watches what runs on the device from now on. Null where there is nothing to watch: each step
  /// is done when it returns. Fails with kDevice.
  virtual std::unique_ptr<DeviceProfiler> open_profiler() { return nullptr; }
};

}  // namespace winnow
