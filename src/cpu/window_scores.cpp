// What the last n queries of a prompt think of each row: the columns of their attention, summed up.
//
//                 rows 0 .. seen
//   query 0      | w w w w w . . |     w = e^(q k / sqrt(head_dim)) / sum of its line
//   query 1      | w w w w w w . |     . = later than the query
//   query n - 1  | w w w w w w w |
//                  v mean, sum or norm of the column
//   score        | s s s s s     |     rows that are held
//
// Products are made twice: once for the sum of each line, once for the columns. Spans of kSpanRows
// rows are tasks of their own; what they leave is put together in their order, so that the bits do
// not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/cpu/simd.h"
#include "src/cpu/threads.h"
#include "src/cpu/tile.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kSpanRows = 512;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// A softmax of some of a query's rows: sum of e^(score - max).
struct Line {
  float max = kMinusInfinity;
  double sum = 0;

  /// A NaN of one stays.
  void add(const Line& more) {
    const float most = std::max(max, more.max);
    if (most == kMinusInfinity) {
      sum += more.sum;
      return;
    }
    sum = sum * std::exp(double{max} - most) + more.sum * std::exp(double{more.max} - most);
    max = most;
  }
};

/// What makes a line's scores weights: weight = e^(score - max) * inverse.
struct Softmax {
  float max = kMinusInfinity;
  float inverse = 0;  // 1 / sum; of no use where no row is seen
};

/// What a query sees.
struct View {
  int64_t rows = 0;   // the rows before this one
  int32_t bit = 0;    // of their masks
  int32_t start = 0;  // from this place in the text on
};

/// The queries of one KV head's group, query g * n + i of query head g, and its rows.
class Window {
 public:
  Window(const ModelConfig& config, const float* queries, int64_t n, const KvRows& kv,
         const Zones& zones, int64_t h)
      : kv_(kv),
        n_queries_(config.group() * n),
        n_panels_((n_queries_ + kTileCols - 1) / kTileCols),
        head_dim_(config.head_dim),
        seen_(zones.seen_rows(h)),
        entry_(kv.first[h]),
        panels_(static_cast<size_t>(n_panels_ * head_dim_ * kTileCols)) {
    const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim_));
    for (int64_t j = 0; j < n_queries_; ++j) {
      const float* q = queries + (j % n * config.n_heads + h * config.group() + j / n) * head_dim_;
      const int64_t own = seen_ - n + j % n;
      views_.push_back({.rows = own + 1,
                        .bit = static_cast<int32_t>(j / n),
                        .start = own < 0 ? 0 : kv.window_start_of(entry_ + own)});
      float* column = &panels_[static_cast<size_t>(j / kTileCols * head_dim_ * kTileCols)];
      for (int64_t d = 0; d < head_dim_; ++d) {
        column[d * kTileCols + j % kTileCols] = q[d] * scale;
      }
    }
  }

  int64_t n_queries() const { return n_queries_; }
  int64_t seen() const { return seen_; }

  /// Whether query j sees row r.
  bool sees(int64_t j, int64_t r) const {
    const View& view = views_[static_cast<size_t>(j)];
    const int64_t entry = entry_ + r;
    return r < view.rows && ((kv_.mask[entry] >> view.bit) & 1U) != 0 &&
           kv_.in_window(entry, view.start);
  }

  /// Calls take(j, r, score) for every query j and the rows [first, last), -infinity where it does
  /// not see the row.
  template <class Take>
  void for_scores(int64_t first, int64_t last, Take&& take) const {
    const float* keys = static_cast<const float*>(kv_.k) + entry_ * head_dim_;
    for (int64_t panel = 0; panel < n_panels_; ++panel) {
      const float* queries = &panels_[static_cast<size_t>(panel * head_dim_ * kTileCols)];
      const int64_t j0 = panel * kTileCols;
      const int64_t columns = std::min(kTileCols, n_queries_ - j0);
      for (int64_t r0 = first; r0 < last; r0 += kTileRows) {
        const TileRows rows{keys + r0 * head_dim_, head_dim_, 1};
        multiply_rows(std::min(kTileRows, last - r0), rows, queries, kTileCols, head_dim_,
                      [&](int i, const Columns& scores) {
                        for (int64_t j = 0; j < columns; ++j) {
                          const bool seen = sees(j0 + j, r0 + i);
                          take(j0 + j, r0 + i, seen ? scores[j] : kMinusInfinity);
                        }
                      });
      }
    }
  }

 private:
  const KvRows& kv_;
  int64_t n_queries_;
  int64_t n_panels_;
  int64_t head_dim_;
  int64_t seen_;
  int64_t entry_;
  std::vector<View> views_;    // [n_queries]
  std::vector<float> panels_;  // [n_panels, head_dim, kTileCols] queries times scale; zeros behind
};

/// The lines' part of one span of rows.  scores [n_queries, kSpanRows] scratch; lines [n_queries]
void sum_lines(const Window& window, int64_t first, std::vector<float>& scores, Line* lines) {
  const int64_t last = std::min(first + kSpanRows, window.seen());
  window.for_scores(first, last, [&](int64_t j, int64_t r, float score) {
    scores[static_cast<size_t>(j * kSpanRows + r - first)] = score;
  });
  for (int64_t j = 0; j < window.n_queries(); ++j) {
    const float* line = &scores[static_cast<size_t>(j * kSpanRows)];
    float max = kMinusInfinity;
    for (int64_t r = 0; r < last - first; ++r) max = std::max(max, line[r]);
    float sum = 0;
    for (int64_t r = 0; r < last - first; ++r) {
      sum += line[r] == kMinusInfinity ? 0.0F : cpu::exp(line[r] - max);
    }
    lines[j] = {.max = max, .sum = sum};
  }
}

/// The columns of one span of rows, of which there are `rows`.  softmaxes [n_queries];
/// sums [group, kSpanRows] scratch
void sum_columns(const Window& window, int64_t first, int64_t rows, int64_t n, WindowSum how,
                 const std::vector<Softmax>& softmaxes, std::vector<float>& sums, float* score,
                 int64_t stride) {
  const int64_t last = std::min(first + kSpanRows, rows);
  std::fill(sums.begin(), sums.end(), kMinusInfinity);  // until a query sees the row
  window.for_scores(first, last, [&](int64_t j, int64_t r, float product) {
    if (product == kMinusInfinity) return;
    const Softmax& softmax = softmaxes[static_cast<size_t>(j)];
    const float weight = cpu::exp(product - softmax.max) * softmax.inverse;
    float& sum = sums[static_cast<size_t>(j / n * kSpanRows + r - first)];
    if (sum == kMinusInfinity) sum = 0;
    sum += how == WindowSum::kNorm ? weight * weight : weight;
  });
  for (int64_t g = 0; g < window.n_queries() / n; ++g) {
    for (int64_t r = first; r < last; ++r) {
      float sum = sums[static_cast<size_t>(g * kSpanRows + r - first)];
      if (sum != kMinusInfinity && how == WindowSum::kMean) sum /= static_cast<float>(n);
      if (sum != kMinusInfinity && how == WindowSum::kNorm) sum = std::sqrt(sum);
      score[g * stride + r] = sum;
    }
  }
}

}  // namespace

void window_attention(const ModelConfig& config, const float* queries, int64_t n, const KvRows& kv,
                      const Zones& zones, WindowSum how, const ScoreLists& lists) {
  const int64_t group = config.group();
  const auto n_queries = static_cast<size_t>(group * n);
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    const Window window(config, queries, n, kv, zones, h);
    const int64_t n_spans = (window.seen() + kSpanRows - 1) / kSpanRows;
    const int64_t work = window.seen() * window.n_queries() * config.head_dim;
    std::vector<Line> parts(static_cast<size_t>(n_spans) * n_queries);
#pragma omp parallel if (work >= kParallelWork)
    {
      std::vector<float> scores(n_queries * kSpanRows);
#pragma omp for schedule(static)
      for (int64_t span = 0; span < n_spans; ++span) {
        sum_lines(window, span * kSpanRows, scores, &parts[static_cast<size_t>(span) * n_queries]);
      }
    }
    std::vector<Line> lines(n_queries);
    for (size_t part = 0; part < parts.size(); ++part) lines[part % n_queries].add(parts[part]);
    std::vector<Softmax> softmaxes;
    softmaxes.reserve(lines.size());
    for (const Line& line : lines) {
      softmaxes.push_back({.max = line.max, .inverse = static_cast<float>(1 / line.sum)});
    }
#pragma omp parallel if (work >= kParallelWork)
    {
      std::vector<float> sums(static_cast<size_t>(group * kSpanRows));
#pragma omp for schedule(static)
      for (int64_t span = 0; span < n_spans; ++span) {
        if (span * kSpanRows >= zones.rows[h]) continue;
        sum_columns(window, span * kSpanRows, zones.rows[h], n, how, softmaxes, sums,
                    lists.score + h * group * lists.stride, lists.stride);
      }
    }
  }
}

}  // namespace winnow::cpu
