// Attention of many queries (prefill): a softmax that runs along with the K/V rows, so that no
// score is stored twice and memory does not grow with the text. Each query carries the greatest
// score so far (max), the sum of e^(score - max) (sum) and the weighted sum of values (out); a
// block with a greater score rescales what was there:
//
//   max' = max(max, block's scores)      sum' = sum e^(max - max') + sum over block of e^(s - max')
//   out' = out e^(max - max') + sum over block of e^(s - max') v          result = out / sum
//
// A task takes the queries of one KV head's group for some neighbouring batch rows, 16 queries to a
// strip, one query to a lane. Everything is turned so that lanes stay queries throughout: the
// softmax needs no sums across lanes, and K/V rows are read where they lie.
//
//                           q [head_dim, 16]
//                              |##|                     per block of K/V rows and strip:
//   k [kBlockRows, head_dim]   |##|
//     6 | ============ |   ->  |##|  scores             scores = k q           tiles of 6 rows
//     6 | ============ |       |##|  [kBlockRows, 16]   max, e^, sum           down the columns
//                                                       out = out * e^(max - max') + v^T scores
//   v^T [head_dim, kBlockRows]
//     6 | ============ |   ->  |##|  out [head_dim, 16]
//
// A block of K and V stays in the first two levels of cache while all strips of the task use it.
// Bound by the multiply-adds: 4 * head_dim FLOPs for each query and row that it sees.
#include <algorithm>
#include <span>
#include <vector>

#include "src/cpu/attention.h"
#include "src/cpu/simd.h"
#include "src/cpu/threads.h"
#include "src/cpu/tile.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kBlockRows = 96;    // K/V rows taken at once: whole tiles
constexpr int64_t kTaskQueries = 96;  // queries of a task, about

/// 16 queries, one to a column, and their softmax so far. Columns past the last query see no row.
struct Strip {
  std::vector<Columns> q;    // [head_dim], scaled
  std::vector<Columns> out;  // [head_dim]
  Columns max, sum;
  IntVec visible[2];   // rows that the query may see, masks aside
  IntVec oldest[2];    // place in the text that the query's window begins at
  UintVec bit[2];      // the query's bit in the masks
  int64_t n_rows = 0;  // the most of `visible`
};

class QueryBlock {
 public:
  explicit QueryBlock(const AttentionProblem& problem)
      : p_(problem), head_dim_(p_.config.head_dim), group_(p_.config.group()), scores_(kBlockRows) {
    const int64_t most_queries = rows_per_task(group_) * group_;
    strips_.resize(static_cast<size_t>((most_queries + kTileCols - 1) / kTileCols));
    for (Strip& strip : strips_) {
      strip.q.resize(static_cast<size_t>(head_dim_));
      strip.out.resize(static_cast<size_t>(head_dim_));
    }
  }

  static int64_t rows_per_task(int64_t group) { return std::max<int64_t>(1, kTaskQueries / group); }

  /// Attention of batch rows [first_row, last_row) through KV head h.
  void run(int64_t h, int64_t first_row, int64_t last_row) {
    head_ = h;
    first_row_ = first_row;
    n_queries_ = (last_row - first_row) * group_;
    const std::span strips(strips_.data(),
                           static_cast<size_t>((n_queries_ + kTileCols - 1) / kTileCols));
    for (size_t s = 0; s < strips.size(); ++s) {
      start(strips[s], static_cast<int64_t>(s) * kTileCols);
    }
    const int64_t n_rows = p_.kv.visible_to(h, last_row - 1);
    for (int64_t row = 0; row < n_rows; row += kBlockRows) {
      for (Strip& strip : strips) {
        const int64_t n = std::min(kBlockRows, strip.n_rows - row);
        if (n > 0) add_block(strip, row, n);
      }
    }
    for (size_t s = 0; s < strips.size(); ++s) {
      finish(strips[s], static_cast<int64_t>(s) * kTileCols);
    }
  }

 private:
  int64_t batch_row(int64_t query) const { return first_row_ + query / group_; }
  int64_t group_head(int64_t query) const { return query % group_; }
  int64_t offset(int64_t query) const {
    return p_.query_offset(head_, batch_row(query), group_head(query));
  }

  /// Query first_query + j of the task becomes column j.
  void start(Strip& strip, int64_t first_query) {
    std::fill(strip.q.begin(), strip.q.end(), Columns{});
    std::fill(strip.out.begin(), strip.out.end(), Columns{});
    strip.max = {{broadcast(kMinusInfinity), broadcast(kMinusInfinity)}};
    strip.sum = {};
    strip.n_rows = 0;
    for (int64_t j = 0; j < kTileCols; ++j) {
      const int64_t query = first_query + j;
      const bool used = query < n_queries_;
      const int64_t visible = used ? p_.kv.visible_to(head_, batch_row(query)) : 0;
      strip.visible[j / kLanes][j % kLanes] = static_cast<int32_t>(visible);
      strip.oldest[j / kLanes][j % kLanes] = used ? p_.kv.window_start(head_, batch_row(query)) : 0;
      strip.bit[j / kLanes][j % kLanes] = used ? 1U << group_head(query) : 0U;
      strip.n_rows = std::max(strip.n_rows, visible);
      if (!used) continue;
      const float* q = p_.q + offset(query);
      for (Columns& row : strip.q) row.set(j, *q++ * p_.scale);
    }
  }

  /// Rows [row, row + n) join the softmax of a strip.
  void add_block(Strip& strip, int64_t row, int64_t n) {
    const int64_t entry = p_.kv.first[head_] + row;
    for (int64_t c = 0; c < n; c += kTileRows) {
      const TileRows k{p_.k_row(entry + c), head_dim_, 1};
      Columns* scores = &scores_[static_cast<size_t>(c)];
      multiply_rows(std::min(kTileRows, n - c), k, floats(strip.q), kTileCols, head_dim_,
                    [&](int r, const Columns& sum) { scores[r] = sum; });
    }
    const Columns rescale = take_scores(strip, entry, row, n);
    for (int64_t d = 0; d < head_dim_; d += kTileRows) {
      const TileRows v_turned{p_.v_row(entry) + d, 1, head_dim_};
      Columns* out = &strip.out[static_cast<size_t>(d)];
      multiply_rows(std::min(kTileRows, head_dim_ - d), v_turned, floats(scores_), kTileCols, n,
                    [&](int r, const Columns& sum) {
                      for (int i = 0; i < 2; ++i) {
                        out[r].half[i] = out[r].half[i] * rescale.half[i] + sum.half[i];
                      }
                    });
    }
  }

  static const float* floats(const std::vector<Columns>& rows) {
    return reinterpret_cast<const float*>(rows.data());
  }

  /// The scores of n rows become weights e^(score - max), and join `max` and `sum`. Returns what
  /// the earlier weights shrink by. entry: of row `row`.
  Columns take_scores(Strip& strip, int64_t entry, int64_t row, int64_t n) {
    Columns rescale;
    for (int half = 0; half < 2; ++half) {
      const Vec old_max = strip.max.half[half];
      const Vec new_max = hide_unseen(strip, half, entry, row, n);
      // Where no row was seen so far, -infinity less itself would be NaN.
      const Vec reference = new_max == kMinusInfinity ? Vec{} : new_max;
      Vec block_sum{};
      for (int64_t c = 0; c < n; ++c) {
        Vec& score = scores_[static_cast<size_t>(c)].half[half];
        score = exp(score - reference);
        block_sum += score;
      }
      rescale.half[half] = exp(old_max - reference);
      strip.sum.half[half] = strip.sum.half[half] * rescale.half[half] + block_sum;
      strip.max.half[half] = new_max;
    }
    return rescale;
  }

  /// Scores of rows that come after a query's own, lie before its window, or whose mask hides them,
  /// become -infinity. Returns the greatest of the others and of those before.
  Vec hide_unseen(const Strip& strip, int half, int64_t entry, int64_t row, int64_t n) {
    const uint32_t* mask = p_.kv.mask + entry;
    const IntVec visible = strip.visible[half] - static_cast<int32_t>(row);  // of this block
    const UintVec bit = strip.bit[half];
    Vec most = strip.max.half[half];
    for (int64_t c = 0; c < n; ++c) {
      Vec& score = scores_[static_cast<size_t>(c)].half[half];
      IntVec seen = ((bit & mask[c]) != 0) & (visible > static_cast<int32_t>(c));
      if (p_.kv.window != 0) seen &= strip.oldest[half] <= p_.kv.position[entry + c];
      score = seen ? score : broadcast(kMinusInfinity);
      most = max(score, most);
    }
    return most;
  }

  void finish(const Strip& strip, int64_t first_query) {
    for (int64_t j = 0; j < std::min(kTileCols, n_queries_ - first_query); ++j) {
      const float sum = strip.sum[j];
      const float inverse = sum == 0 ? 0.0F : 1.0F / sum;
      const int64_t query = first_query + j;
      p_.store_lse(head_ * group_ + group_head(query), batch_row(query), strip.max[j], sum);
      float* out = p_.out + offset(query);
      for (const Columns& row : strip.out) *out++ = row[j] * inverse;
    }
  }

  const AttentionProblem& p_;
  int64_t head_dim_;
  int64_t group_;
  int64_t head_ = 0;
  int64_t first_row_ = 0;
  int64_t n_queries_ = 0;
  std::vector<Strip> strips_;
  std::vector<Columns> scores_;  // [kBlockRows] of the strip at work
};

}  // namespace

void attention_of_many(const AttentionProblem& p) {
  const int64_t rows = QueryBlock::rows_per_task(p.config.group());
  const int64_t n_tasks = (p.n + rows - 1) / rows;
  const int64_t work = p.n * p.kv.visible_to(0, p.n - 1) * p.config.q_size();
#pragma omp parallel if (work >= kParallelWork)
  {
    QueryBlock queries(p);
    // The last rows see the most: they go first, so that no thread ends with the longest task.
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < n_tasks * p.config.n_kv_heads; ++task) {
      const int64_t t = n_tasks - 1 - task / p.config.n_kv_heads;
      const int64_t h = task % p.config.n_kv_heads;
      queries.run(h, t * rows, std::min((t + 1) * rows, p.n));
    }
  }
}

}  // namespace winnow::cpu
