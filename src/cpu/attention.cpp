// Attention in blocks of 64 rows, so that no score is ever stored twice and memory does not grow
// with the text. Each query carries the greatest score so far (max), the sum of e^(score - max)
// (sum) and the weighted sum of values (out); a block with a greater score rescales what was there:
//
//   max' = max(max, block's scores)      sum' = sum e^(max - max') + sum over block of e^(s - max')
//   out' = out e^(max - max') + sum over block of e^(s - max') v          result = out / sum
//
// Many queries (prefill): the queries of a KV head's whole group go through `tile` together, so
// each K/V row is read once for all of them. Few queries (decode): the rows are cut into spans of a
// fixed size, one task each, and the spans are merged in order: the same sums on any number of
// threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/cpu/matmul.h"
#include "src/cpu/ops.h"
#include "src/cpu/simd.h"
#include "src/cpu/threads.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kBlockRows = 64;    // K/V rows taken at once
constexpr int64_t kTaskQueries = 96;  // queries of a prefill task, about
constexpr int64_t kSpanRows = 512;    // rows of a decode task
constexpr int64_t kFewQueries = 4;    // batch rows up to which the decode way is taken
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// What the tasks of one call share.
struct Problem {
  const ModelConfig& config;
  int64_t n;       // batch rows
  const float* q;  // [n, n_heads, head_dim]
  const KvRows& kv;
  float* out;  // [n, n_heads, head_dim]
  float scale;

  int64_t first_entry(int64_t h) const { return kv.first[h]; }
  int64_t query_offset(int64_t h, int64_t i, int64_t g) const {
    return (i * config.n_heads + h * config.group() + g) * config.head_dim;
  }
  const float* k_row(int64_t entry) const {
    return static_cast<const float*>(kv.k) + entry * config.head_dim;
  }
  const float* v_row(int64_t entry) const {
    return static_cast<const float*>(kv.v) + entry * config.head_dim;
  }
};

/// Softmax over one more block of scores: they become weights e^(s - max), `out` [size] is
/// rescaled. scores [n]; -infinity marks rows that are not seen.
void take_scores(float* scores, int64_t n, float& max, float& sum, float* out, int64_t size) {
  float new_max = max;
#pragma omp simd reduction(max : new_max)
  for (int64_t c = 0; c < n; ++c) new_max = std::max(new_max, scores[c]);
  if (new_max == kMinusInfinity) {  // no row seen so far: nothing to add, and no NaN
    std::fill_n(scores, n, 0.0F);
    return;
  }
  const float rescale = cpu::exp(max - new_max);
  float block_sum = 0;
#pragma omp simd reduction(+ : block_sum)
  for (int64_t c = 0; c < n; ++c) {
    scores[c] = cpu::exp(scores[c] - new_max);
    block_sum += scores[c];
  }
  for (int64_t d = 0; d < size; ++d) out[d] *= rescale;
  max = new_max;
  sum = sum * rescale + block_sum;
}

/// The queries of one KV head's group for some neighbouring batch rows, and their softmax so far.
/// Query r belongs to batch row first_row + r / group and query head r % group of the group.
class QueryBlock {
 public:
  explicit QueryBlock(const Problem& problem)
      : p_(problem),
        head_dim_(p_.config.head_dim),
        padded_((head_dim_ + kTileCols - 1) / kTileCols * kTileCols),
        max_queries_(rows_per_block(p_.config.group()) * p_.config.group()),
        q_(size(max_queries_ * head_dim_)),
        scores_(size(max_queries_ * kBlockRows)),
        out_(size(max_queries_ * padded_)),
        k_turned_(size(head_dim_ * kBlockRows)),
        v_padded_(size(kBlockRows * padded_)),
        max_(size(max_queries_)),
        sum_(size(max_queries_)) {}

  static int64_t rows_per_block(int64_t group) {
    return std::max<int64_t>(1, kTaskQueries / group);
  }

  /// Attention of batch rows [first_row, last_row) through KV head h.
  void run(int64_t h, int64_t first_row, int64_t last_row) {
    start(h, first_row, last_row);
    const int64_t n_rows = p_.kv.visible_to(h, last_row - 1);
    for (int64_t row = 0; row < n_rows; row += kBlockRows) {
      add_block(row, std::min(kBlockRows, n_rows - row));
    }
    finish();
  }

 private:
  static size_t size(int64_t n) { return static_cast<size_t>(n); }

  void start(int64_t h, int64_t first_row, int64_t last_row) {
    head_ = h;
    first_row_ = first_row;
    n_queries_ = (last_row - first_row) * p_.config.group();
    for (int64_t r = 0; r < n_queries_; ++r) {
      const float* q = p_.q + p_.query_offset(h, batch_row(r), group_head(r));
      for (int64_t d = 0; d < head_dim_; ++d) q_[size(r * head_dim_ + d)] = q[d] * p_.scale;
    }
    std::fill(out_.begin(), out_.end(), 0.0F);
    std::fill(sum_.begin(), sum_.end(), 0.0F);
    std::fill(max_.begin(), max_.end(), kMinusInfinity);
  }

  void add_block(int64_t row, int64_t n) {
    const int64_t entry = p_.first_entry(head_) + row;
    turn_keys(entry, n);
    for (int64_t r = 0; r < n_queries_; r += kTileRows) {
      for (int64_t c = 0; c < n; c += kTileCols) {
        tile(std::min(kTileRows, n_queries_ - r), &q_[size(r * head_dim_)], head_dim_,
             &k_turned_[size(c)], kBlockRows, head_dim_, &scores_[size(r * kBlockRows + c)],
             kBlockRows, false);
      }
    }
    for (int64_t r = 0; r < n_queries_; ++r) {
      float* scores = &scores_[size(r * kBlockRows)];
      hide_unseen(r, row, n, entry, scores);
      take_scores(scores, n, max_[size(r)], sum_[size(r)], &out_[size(r * padded_)], padded_);
    }
    const float* v = padded_values(entry, n);
    for (int64_t r = 0; r < n_queries_; r += kTileRows) {
      for (int64_t c = 0; c < padded_; c += kTileCols) {
        tile(std::min(kTileRows, n_queries_ - r), &scores_[size(r * kBlockRows)], kBlockRows, v + c,
             padded_, n, &out_[size(r * padded_ + c)], padded_, true);
      }
    }
  }

  /// k_turned[d][c] = key of the block's row c; rows past n are 0, so that whole tiles may be
  /// taken.
  void turn_keys(int64_t entry, int64_t n) {
    for (int64_t c = 0; c < kBlockRows; ++c) {
      const float* k = c < n ? p_.k_row(entry + c) : nullptr;
      for (int64_t d = 0; d < head_dim_; ++d) k_turned_[size(d * kBlockRows + c)] = k ? k[d] : 0.0F;
    }
  }

  /// The block's values, rows padded_ apart: in place where the head is a whole number of tiles
  /// wide.
  const float* padded_values(int64_t entry, int64_t n) {
    if (padded_ == head_dim_) return p_.v_row(entry);
    for (int64_t c = 0; c < n; ++c) {
      std::copy_n(p_.v_row(entry + c), head_dim_, &v_padded_[size(c * padded_)]);
    }
    return v_padded_.data();
  }

  /// Scores of rows that come after query r's own, or whose mask hides them, become -infinity.
  void hide_unseen(int64_t r, int64_t row, int64_t n, int64_t entry, float* scores) const {
    const int64_t visible = p_.kv.visible_to(head_, batch_row(r)) - row;
    const uint32_t* mask = p_.kv.mask + entry;
    const int64_t bit = group_head(r);
    const int32_t start = p_.kv.window_start(head_, batch_row(r));
    for (int64_t c = 0; c < n; ++c) {
      const bool seen =
          c < visible && ((mask[c] >> bit) & 1U) != 0 && p_.kv.in_window(entry + c, start);
      scores[c] = seen ? scores[c] : kMinusInfinity;
    }
  }

  void finish() {
    for (int64_t r = 0; r < n_queries_; ++r) {
      const float inverse = sum_[size(r)] > 0 ? 1.0F / sum_[size(r)] : 0.0F;
      float* out = p_.out + p_.query_offset(head_, batch_row(r), group_head(r));
      for (int64_t d = 0; d < head_dim_; ++d) out[d] = out_[size(r * padded_ + d)] * inverse;
    }
  }

  int64_t batch_row(int64_t r) const { return first_row_ + r / p_.config.group(); }
  int64_t group_head(int64_t r) const { return r % p_.config.group(); }

  const Problem& p_;
  int64_t head_dim_;
  int64_t padded_;  // head_dim rounded up to whole tiles
  int64_t max_queries_;
  int64_t head_ = 0;
  int64_t first_row_ = 0;
  int64_t n_queries_ = 0;
  std::vector<float> q_;         // [queries, head_dim], scaled
  std::vector<float> scores_;    // [queries, kBlockRows]
  std::vector<float> out_;       // [queries, padded]
  std::vector<float> k_turned_;  // [head_dim, kBlockRows]
  std::vector<float> v_padded_;  // [kBlockRows, padded]
  std::vector<float> max_;       // [queries]
  std::vector<float> sum_;       // [queries]
};

void many_queries(const Problem& p) {
  const int64_t block = QueryBlock::rows_per_block(p.config.group());
  const int64_t n_blocks = (p.n + block - 1) / block;
  const int64_t work = p.n * p.kv.visible_to(0, p.n - 1) * p.config.q_size();
#pragma omp parallel if (work >= kParallelWork)
  {
    QueryBlock queries(p);
    // The last rows see the most: they go first, so that no thread ends with the longest task.
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < n_blocks * p.config.n_kv_heads; ++task) {
      const int64_t b = n_blocks - 1 - task / p.config.n_kv_heads;
      const int64_t h = task % p.config.n_kv_heads;
      queries.run(h, b * block, std::min((b + 1) * block, p.n));
    }
  }
}

/// The softmax of one query over one span of rows, not yet divided by its sum.
struct Partial {
  float max = kMinusInfinity;
  float sum = 0;
  float* out = nullptr;  // [head_dim]
};

/// Takes rows [row, row + n) of KV head h into the partial of one query, whose window begins at
/// `start`.  q [head_dim]
void attend_span(const Problem& p, int64_t h, int64_t g, const float* q, int32_t start, int64_t row,
                 int64_t n, Partial& partial) {
  const int64_t head_dim = p.config.head_dim;
  float scores[kBlockRows];
  for (int64_t done = 0; done < n; done += kBlockRows) {
    const int64_t entry = p.first_entry(h) + row + done;
    const int64_t n_block = std::min(kBlockRows, n - done);
    for (int64_t c = 0; c < n_block; ++c) {
      const float* k = p.k_row(entry + c);
      float dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t d = 0; d < head_dim; ++d) dot += q[d] * k[d];
      const bool seen = ((p.kv.mask[entry + c] >> g) & 1U) != 0 && p.kv.in_window(entry + c, start);
      scores[c] = seen ? dot * p.scale : kMinusInfinity;
    }
    take_scores(scores, n_block, partial.max, partial.sum, partial.out, head_dim);
    for (int64_t c = 0; c < n_block; ++c) {
      const float* v = p.v_row(entry + c);
      for (int64_t d = 0; d < head_dim; ++d) partial.out[d] += scores[c] * v[d];
    }
  }
}

/// out = the spans' sums brought to one maximum, in the spans' order.  out [head_dim]
void merge(const Partial* spans, int64_t n_spans, int64_t head_dim, float* out) {
  float max = kMinusInfinity;
  for (int64_t s = 0; s < n_spans; ++s) max = std::max(max, spans[s].max);
  std::fill_n(out, head_dim, 0.0F);
  float sum = 0;
  for (int64_t s = 0; s < n_spans; ++s) {
    if (spans[s].sum == 0) continue;  // saw no row
    const float rescale = cpu::exp(spans[s].max - max);
    sum += spans[s].sum * rescale;
    for (int64_t d = 0; d < head_dim; ++d) out[d] += spans[s].out[d] * rescale;
  }
  const float inverse = sum > 0 ? 1.0F / sum : 0.0F;
  for (int64_t d = 0; d < head_dim; ++d) out[d] *= inverse;
}

/// The rows of all KV heads cut into spans, for batch row i.
void one_query(const Problem& p, int64_t i) {
  const ModelConfig& c = p.config;
  int64_t most_rows = 0;
  for (int64_t h = 0; h < c.n_kv_heads; ++h) most_rows = std::max(most_rows, p.kv.visible_to(h, i));
  const int64_t n_spans = (most_rows + kSpanRows - 1) / kSpanRows;
  std::vector<float> out(static_cast<size_t>(c.n_heads * n_spans * c.head_dim));
  std::vector<Partial> partials(static_cast<size_t>(c.n_heads * n_spans));
#pragma omp parallel for schedule(static) if (2 * most_rows * c.q_size() >= kParallelWork)
  for (int64_t task = 0; task < c.n_kv_heads * n_spans; ++task) {
    const int64_t h = task / n_spans;
    const int64_t span = task % n_spans;
    const int64_t row = span * kSpanRows;
    const int64_t n = std::min(kSpanRows, p.kv.visible_to(h, i) - row);
    for (int64_t g = 0; g < c.group(); ++g) {
      const int64_t index = (h * c.group() + g) * n_spans + span;
      Partial& partial = partials[static_cast<size_t>(index)];
      partial.out = &out[static_cast<size_t>(index * c.head_dim)];
      attend_span(p, h, g, p.q + p.query_offset(h, i, g), p.kv.window_start(h, i), row, n, partial);
    }
  }
  for (int64_t head = 0; head < c.n_heads; ++head) {
    merge(&partials[static_cast<size_t>(head * n_spans)], n_spans, c.head_dim,
          p.out + (i * c.n_heads + head) * c.head_dim);
  }
}

}  // namespace

void attention(const ModelConfig& config, int64_t n, const float* q, const KvRows& kv, float* out) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  const Problem problem{config, n, q, kv, out, scale};
  if (n > kFewQueries) return many_queries(problem);
  for (int64_t i = 0; i < n; ++i) one_query(problem, i);
}

}  // namespace winnow::cpu
