// What rows get of attention: the sums over the columns of the softmax, which attention() does not
// have when it is done. It leaves what each query's scores add up to, as a logarithm; every weight
// is then computed again from its score alone:
//
//   weight[i][r] = 2^(score[i][r] * log2(e) - lse[i])      sum[r] += sum over i of weight[i][r]
//
// A task takes some rows of one KV head through all queries, 16 at a time, one to a lane, as
// attention_many.cpp does. Bound by the multiply-adds: 2 * head_dim FLOPs for each query and row
// that it sees. All sums are in a fixed order: the same bits on any number of threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "src/cpu/attention.h"
#include "src/cpu/simd.h"
#include "src/cpu/threads.h"
#include "src/cpu/tile.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kTaskRows = 96;  // whole tiles
constexpr float kLn2 = 0.69314718F;

/// 16 batch rows of one query head, one to a column. Columns past the last row have weight 0.
struct Strip {
  explicit Strip(int64_t head_dim) : q(static_cast<size_t>(head_dim)) {}

  std::vector<Columns> q;  // [head_dim], scaled
  Columns lse;             // in base e; +infinity makes a weight of 0
  IntVec visible[2];       // rows that the query may see, masks aside
  IntVec oldest[2];        // place in the text that the query's window begins at
};

/// Queries and rows of one call.
struct ColumnSums {
  const AttentionProblem& p;
  const float* lse;  // [n_heads, n] base 2

  /// Batch rows [first, first + 16) of query head g of KV head h.
  void load(int64_t h, int64_t g, int64_t first, Strip& strip) const {
    std::fill(strip.q.begin(), strip.q.end(), Columns{});
    for (int64_t j = 0; j < kTileCols; ++j) {
      const int64_t i = first + j;
      const bool used = i < p.n;
      const float sum = used ? lse[(h * p.config.group() + g) * p.n + i] : kMinusInfinity;
      strip.lse.set(j, sum == kMinusInfinity ? -kMinusInfinity : sum * kLn2);
      strip.visible[j / kLanes][j % kLanes] =
          static_cast<int32_t>(used ? p.kv.visible_to(h, i) : 0);
      strip.oldest[j / kLanes][j % kLanes] = used ? p.kv.window_start(h, i) : 0;
      if (!used) continue;
      const float* q = p.q + p.query_offset(h, i, g);
      for (Columns& row : strip.q) row.set(j, *q++ * p.scale);
    }
  }

  /// The sum of the strip's weights of row r, whose scores are given.
  float sum_of_row(const Strip& strip, int64_t entry, int64_t r, const Columns& scores) const {
    float sum = 0;
    for (int half = 0; half < 2; ++half) {
      IntVec seen = strip.visible[half] > static_cast<int32_t>(r);
      if (p.kv.window != 0) seen &= strip.oldest[half] <= p.kv.position[entry];
      const Vec weight = exp(scores.half[half] - strip.lse.half[half]);
      sum += cpu::sum_of(seen ? weight : Vec{});
    }
    return sum;
  }

  /// Rows [row, row + n) of KV head h.
  void run(int64_t h, int64_t row, int64_t n, Strip& strip) const {
    const int64_t group = p.config.group();
    const int64_t entry = p.kv.first[h] + row;
    const int64_t head_dim = p.config.head_dim;
    float sums[kTaskRows] = {};
    // Queries before this one see none of the rows.
    const int64_t first = std::max<int64_t>(row + 1 - p.kv.visible_to(h, 0), 0);
    for (int64_t g = 0; g < group; ++g) {
      for (int64_t i = first; i < p.n; i += kTileCols) {
        load(h, g, i, strip);
        for (int64_t c = 0; c < n; c += kTileRows) {
          const TileRows k{p.k_row(entry + c), head_dim, 1};
          const auto* q = reinterpret_cast<const float*>(strip.q.data());
          multiply_rows(std::min(kTileRows, n - c), k, q, kTileCols, head_dim,
                        [&](int r, const Columns& scores) {
                          const int64_t at = entry + c + r;
                          if (((p.kv.mask[at] >> g) & 1U) == 0) return;
                          sums[c + r] += sum_of_row(strip, at, row + c + r, scores);
                        });
        }
      }
    }
    for (int64_t c = 0; c < n; ++c) {
      p.kv.score[entry + c] += sums[c] / static_cast<float>(group);
    }
  }
};

}  // namespace

void add_column_sums(const ModelConfig& config, int64_t n, const float* q, const float* lse,
                     const KvRows& kv) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  const AttentionProblem problem{.config = config, .n = n, .q = q, .kv = kv, .scale = scale};
  const ColumnSums sums{problem, lse};
  int64_t most_rows = 0;
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    most_rows = std::max(most_rows, kv.visible_to(h, n - 1));
  }
  const int64_t n_tasks = (most_rows + kTaskRows - 1) / kTaskRows;
#pragma omp parallel if (n * most_rows * config.q_size() >= kParallelWork)
  {
    Strip strip(config.head_dim);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < n_tasks * config.n_kv_heads; ++task) {
      const int64_t row = task / config.n_kv_heads * kTaskRows;  // the first rows are seen most
      const int64_t h = task % config.n_kv_heads;
      const int64_t rows = std::min(kTaskRows, kv.visible_to(h, n - 1) - row);
      if (rows > 0) sums.run(h, row, rows, strip);
    }
  }
}

void choose_slots(const ModelConfig& config, int32_t position, const KvRows& kv, int64_t recent,
                  int32_t* slot) {
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    int32_t least = -1;  // the row of the least score
    int32_t oldest = 0;
    const auto place = [&](int64_t row) { return kv.position[kv.first[h] + row]; };
    const auto score = [&](int64_t row) { return kv.score[kv.first[h] + row]; };
    for (int32_t row = 0; row < kv.visible[h]; ++row) {
      if (place(row) < place(oldest)) oldest = row;
      if (place(row) >= position - recent || std::isnan(score(row))) continue;
      const bool less = least < 0 || score(row) < score(least) ||
                        (score(row) == score(least) && place(row) < place(least));
      if (less) least = row;
    }
    slot[h] = least < 0 ? oldest : least;
    kv.score[kv.first[h] + slot[h]] = 0;
  }
}

void stored_scores(const ModelConfig& config, const KvRows& kv, const Zones& zones,
                   const ScoreLists& lists) {
  for (int64_t h = 0; h < config.n_kv_heads; ++h) {
    std::copy_n(kv.score + kv.first[h], zones.rows[h], lists.score + h * lists.stride);
  }
}

}  // namespace winnow::cpu
