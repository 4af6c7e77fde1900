// Attention of one query of every head (decode): the rows are cut into spans of a fixed size, one
// task each. A span carries its greatest score, the sum of e^(score - max) and the weighted sum of
// values, as in attention_many.cpp; the spans are merged in order, so that the sums are the same on
// any number of threads. A block of K and V rows stays in the first two levels of cache while the
// whole group uses it. Bound by reading K and V: 8 * head_dim bytes a row.
//
//   rows   | span 0            | span 1            | ...
//          | block | block |...|
//
//   scores [group, kBlockRows] = q k^T     8 rows of k at a time, 8 dims to a register
//   out [group, head_dim]     += scores v  tiles of the group's queries
#include <algorithm>
#include <vector>

#include "src/cpu/attention.h"
#include "src/cpu/simd.h"
#include "src/cpu/threads.h"
#include "src/cpu/tile.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kSpanRows = 512;  // rows of a task
constexpr int64_t kBlockRows = 64;  // rows taken at once

/// The softmax of one query over one span of rows, not yet divided by its sum.
struct Partial {
  float max = kMinusInfinity;
  float sum = 0;
};

/// scores[c] = q . k[c] for 8 rows, of which those past the last are that one again.
/// q [head_dim]; k [n, head_dim]
Vec eight_scores(const float* q, const float* k, int64_t n, int64_t head_dim) {
  Vec sums[kLanes] = {};
  const float* rows[kLanes];
  for (int64_t c = 0; c < kLanes; ++c) rows[c] = k + std::min(c, n - 1) * head_dim;
  int64_t d = 0;
  for (; d + kLanes <= head_dim; d += kLanes) {
    const Vec part = load(q + d);
    for (int64_t c = 0; c < kLanes; ++c) sums[c] += part * load(rows[c] + d);
  }
  transpose(sums);
  Vec scores =
      ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  for (; d < head_dim; ++d) {
    for (int64_t c = 0; c < kLanes; ++c) scores[c] += q[d] * rows[c][d];
  }
  return scores;
}

/// The scores of one query, head g of its group, for the n rows from `entry` on; -infinity where
/// the mask hides a row or it lies before the window that begins at `start`, and past n.
/// scores [kBlockRows]
void score_block(const AttentionProblem& p, const float* q, int64_t g, int32_t start, int64_t entry,
                 int64_t n, float* scores) {
  for (int64_t c = 0; c < kBlockRows; c += kLanes) {
    Vec eight = broadcast(kMinusInfinity);
    if (c < n) {
      eight = eight_scores(q, p.k_row(entry + c), n - c, p.config.head_dim) * p.scale;
    }
    for (int64_t i = 0; i < kLanes; ++i) {
      const int64_t at = entry + c + i;
      const bool seen = c + i < n && ((p.kv.mask[at] >> g) & 1U) != 0 && p.kv.in_window(at, start);
      scores[c + i] = seen ? eight[i] : kMinusInfinity;
    }
  }
}

/// The scores of a block become weights e^(score - max), and join the partial. Returns what the
/// earlier weights shrink by.  scores [kBlockRows]
float take_scores(float* scores, Partial& partial) {
  Vec most = load(scores);
  for (int64_t c = kLanes; c < kBlockRows; c += kLanes) most = max(load(scores + c), most);
  const float new_max = std::max(partial.max, greatest(most));
  // Where no row was seen so far, -infinity less itself would be NaN.
  const float reference = new_max == kMinusInfinity ? 0.0F : new_max;
  Vec sum{};
  for (int64_t c = 0; c < kBlockRows; c += kLanes) {
    const Vec weight = exp(load(scores + c) - reference);
    store(scores + c, weight);
    sum += weight;
  }
  const float rescale = exp(partial.max - reference);
  partial.sum = partial.sum * rescale + sum_of(sum);
  partial.max = new_max;
  return rescale;
}

/// One task: the group's queries over rows of one span.
class Span {
 public:
  explicit Span(const AttentionProblem& problem)
      : p_(problem),
        group_(p_.config.group()),
        head_dim_(p_.config.head_dim),
        scores_(static_cast<size_t>(group_ * kBlockRows)),
        rescale_(static_cast<size_t>(group_)),
        edge_(static_cast<size_t>(kBlockRows * kTileCols)) {}

  /// Rows [row, row + n) of KV head h, for batch row i.
  /// partials [group]; out [group, head_dim], zeros before
  void run(int64_t h, int64_t i, int64_t row, int64_t n, Partial* partials, float* out) {
    const float* q = p_.q + p_.query_offset(h, i, 0);
    const int32_t start = p_.kv.window_start(h, i);
    for (int64_t done = 0; done < n; done += kBlockRows) {
      const int64_t entry = p_.kv.first[h] + row + done;
      const int64_t n_block = std::min(kBlockRows, n - done);
      for (int64_t g = 0; g < group_; ++g) {
        float* scores = &scores_[static_cast<size_t>(g * kBlockRows)];
        score_block(p_, q + g * head_dim_, g, start, entry, n_block, scores);
        rescale_[static_cast<size_t>(g)] = take_scores(scores, partials[g]);
      }
      add_values(p_.v_row(entry), n_block, out);
    }
  }

 private:
  /// out = out * rescale + scores v.  v [n, head_dim]
  void add_values(const float* v, int64_t n, float* out) {
    for (int64_t d = 0; d < head_dim_; d += kTileCols) {
      const int64_t n_cols = std::min(kTileCols, head_dim_ - d);
      const float* columns = v + d;
      int64_t v_row = head_dim_;
      if (n_cols < kTileCols) {
        for (int64_t c = 0; c < n; ++c) {
          std::copy_n(v + c * head_dim_ + d, n_cols, &edge_[static_cast<size_t>(c * kTileCols)]);
        }
        columns = edge_.data();
        v_row = kTileCols;
      }
      for (int64_t g = 0; g < group_; g += kTileRows) {
        const TileRows weights{&scores_[static_cast<size_t>(g * kBlockRows)], kBlockRows, 1};
        multiply_rows(std::min(kTileRows, group_ - g), weights, columns, v_row, n,
                      [&](int r, const Columns& sum) {
                        const float rescale = rescale_[static_cast<size_t>(g + r)];
                        float* to = out + (g + r) * head_dim_ + d;
                        for (int64_t j = 0; j < n_cols; ++j) to[j] = to[j] * rescale + sum[j];
                      });
      }
    }
  }

  const AttentionProblem& p_;
  int64_t group_;
  int64_t head_dim_;
  std::vector<float> scores_;   // [group, kBlockRows]
  std::vector<float> rescale_;  // [group]
  std::vector<float> edge_;     // [kBlockRows, kTileCols]: the last columns of V, zeros beside them
};

/// to = the spans' sums brought to one maximum, in the spans' order. Returns their max and sum.
/// spans [n_spans], `stride` apart; out [n_spans, head_dim], rows stride * head_dim apart
Partial merge(const Partial* spans, const float* out, int64_t n_spans, int64_t stride,
              int64_t head_dim, float* to) {
  float max = kMinusInfinity;
  for (int64_t s = 0; s < n_spans; ++s) max = std::max(max, spans[s * stride].max);
  std::fill_n(to, head_dim, 0.0F);
  float sum = 0;
  for (int64_t s = 0; s < n_spans; ++s) {
    const Partial& span = spans[s * stride];
    if (span.sum == 0) continue;  // saw no row
    const float rescale = exp(span.max - max);
    sum += span.sum * rescale;
    for (int64_t d = 0; d < head_dim; ++d) to[d] += out[s * stride * head_dim + d] * rescale;
  }
  const float inverse = sum == 0 ? 0.0F : 1.0F / sum;
  for (int64_t d = 0; d < head_dim; ++d) to[d] *= inverse;
  return {.max = max, .sum = sum};
}

}  // namespace

void attention_of_one(const AttentionProblem& p, int64_t i) {
  const ModelConfig& c = p.config;
  const int64_t group = c.group();
  int64_t most_rows = 0;
  for (int64_t h = 0; h < c.n_kv_heads; ++h) most_rows = std::max(most_rows, p.kv.visible_to(h, i));
  const int64_t n_spans = (most_rows + kSpanRows - 1) / kSpanRows;
  // Span s of KV head h stands at (h * n_spans + s) * group.
  std::vector<Partial> partials(static_cast<size_t>(c.n_heads * n_spans));
  std::vector<float> out(partials.size() * static_cast<size_t>(c.head_dim));
#pragma omp parallel if (2 * most_rows * c.q_size() >= kParallelWork)
  {
    Span worker(p);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < c.n_kv_heads * n_spans; ++task) {
      const int64_t h = task / n_spans;
      const int64_t row = task % n_spans * kSpanRows;
      const int64_t n = std::min(kSpanRows, p.kv.visible_to(h, i) - row);
      worker.run(h, i, row, n, &partials[static_cast<size_t>(task * group)],
                 &out[static_cast<size_t>(task * group * c.head_dim)]);
    }
  }
  for (int64_t head = 0; head < c.n_heads; ++head) {
    const int64_t first = head / group * n_spans * group + head % group;
    const Partial whole =
        merge(&partials[static_cast<size_t>(first)], &out[static_cast<size_t>(first * c.head_dim)],
              n_spans, group, c.head_dim, p.out + head * c.head_dim + i * c.q_size());
    p.store_lse(head, i, whole.max, whole.sum);
  }
}

}  // namespace winnow::cpu
