// How large the values of rows are: as stored, or as they come into the residual stream, v W_O.
//
//   v [rows, head_dim] * panel [head_dim, 16]     columns of R, or of the head's W_O
//     6 | ====                |##|
//     6 | ====         *      |##|     each product's squares or absolute values are added up,
//     6 | ====                |##|     column after column, and nothing of it is kept
//
// R has head_dim columns where W_O has hidden_size, and ||v R|| = ||v W_O|| (src/output_factor.h).
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/base/error.h"
#include "src/cpu/threads.h"
#include "src/cpu/tile.h"
#include "src/cpu/winnow.h"

namespace winnow::cpu {
namespace {

constexpr int64_t kSpanRows = 256;   // of a task
constexpr int64_t kGramDepth = 256;  // products that are summed up in fp32
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Columns [first, first + kTileCols) of what values are multiplied with, zeros behind the last.
/// panel [head_dim, kTileCols]
void factor_panel(const float* factor, int64_t head_dim, int64_t first, float* panel) {
  for (int64_t d = 0; d < head_dim; ++d) {
    for (int64_t j = 0; j < kTileCols; ++j) {
      panel[d * kTileCols + j] = first + j < head_dim ? factor[d * head_dim + first + j] : 0.0F;
    }
  }
}

/// The same of a head's W_O, whose column j is row j of `o` from element `at` on.
void output_panel(const Matrix& o, int64_t at, int64_t head_dim, int64_t first, float* panel) {
  with_dtype(o.type, [&]<class T>(const T*) {
    const T* weights = static_cast<const T*>(o.data) + at;
    for (int64_t d = 0; d < head_dim; ++d) {
      for (int64_t j = 0; j < kTileCols; ++j) {
        const bool inside = first + j < o.rows;
        panel[d * kTileCols + j] = inside ? to_float(weights[(first + j) * o.cols + d]) : 0.0F;
      }
    }
  });
}

/// sums[r] = sum over the columns of squares, or of absolute values, of v * panels.
/// v [rows, head_dim]; panel_of(first, panel) fills one
template <class PanelOf>
void sum_products(const float* v, int64_t rows, int64_t head_dim, int64_t columns, bool squares,
                  PanelOf&& panel_of, std::vector<float>& panel, float* sums) {
  std::fill_n(sums, rows, 0.0F);
  for (int64_t first = 0; first < columns; first += kTileCols) {
    panel_of(first, panel.data());
    for (int64_t r0 = 0; r0 < rows; r0 += kTileRows) {
      multiply_rows(std::min(kTileRows, rows - r0), TileRows{v + r0 * head_dim, head_dim, 1},
                    panel.data(), kTileCols, head_dim, [&](int i, const Columns& products) {
                      float sum = 0;
                      for (int64_t j = 0; j < kTileCols; ++j) {
                        const float p = products[j];
                        sum += squares ? p * p : std::fabs(p);
                      }
                      sums[r0 + i] += sum;
                    });
    }
  }
}

/// The norms of rows [0, rows) of one query head.  panel [head_dim, kTileCols] scratch
void head_norms(const LayerWeights& w, ValueNorm how, int64_t head, int64_t head_dim,
                const float* v, int64_t rows, std::vector<float>& panel, float* norms) {
  switch (how) {
    case ValueNorm::kValue:
      for (int64_t r = 0; r < rows; ++r) {
        const float* value = v + r * head_dim;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < head_dim; ++d) sum += value[d] * value[d];
        norms[r] = std::sqrt(sum);
      }
      return;
    case ValueNorm::kOutput: {
      const float* factor = w.o_factor + head * head_dim * head_dim;
      const auto panel_of = [&](int64_t first, float* to) {
        factor_panel(factor, head_dim, first, to);
      };
      sum_products(v, rows, head_dim, head_dim, true, panel_of, panel, norms);
      for (int64_t r = 0; r < rows; ++r) norms[r] = std::sqrt(norms[r]);
      return;
    }
    case ValueNorm::kOutputL1: {
      const auto panel_of = [&](int64_t first, float* to) {
        output_panel(w.o, head * head_dim, head_dim, first, to);
      };
      sum_products(v, rows, head_dim, w.o.rows, false, panel_of, panel, norms);
      return;
    }
  }
}

}  // namespace

void value_norms(const ModelConfig& config, const LayerWeights& w, const KvRows& kv,
                 const Zones& zones, ValueNorm how, const ScoreLists& lists) {
  WINNOW_CHECK(how != ValueNorm::kOutput || w.o_factor != nullptr, "the layer has no o_factor");
  const int64_t head_dim = config.head_dim;
  const int64_t n_spans = (zones.max_rows + kSpanRows - 1) / kSpanRows;
  const int64_t columns = how == ValueNorm::kOutputL1 ? w.o.rows : head_dim;
  const int64_t work = zones.max_rows * config.n_heads * head_dim * columns;
#pragma omp parallel if (work >= kParallelWork)
  {
    std::vector<float> panel(static_cast<size_t>(head_dim * kTileCols));
#pragma omp for schedule(static)
    for (int64_t task = 0; task < config.n_heads * n_spans; ++task) {
      const int64_t head = task / n_spans;
      const int64_t h = head / config.group();
      const int64_t first = task % n_spans * kSpanRows;
      const int64_t rows = std::min<int64_t>(kSpanRows, zones.rows[h] - first);
      if (rows <= 0) continue;
      const int64_t entry = kv.first[h] + first;
      float* norms = lists.score + head * lists.stride + first;
      head_norms(w, how, head, head_dim, static_cast<const float*>(kv.v) + entry * head_dim, rows,
                 panel, norms);
      for (int64_t r = 0; r < rows; ++r) {
        const bool seen = ((kv.mask[entry + r] >> (head % config.group())) & 1U) != 0;
        if (!seen) norms[r] = kMinusInfinity;
      }
    }
  }
}

void output_grams(const ModelConfig& config, const Matrix& o, float* grams) {
  const int64_t head_dim = config.head_dim;
  const int64_t pitch = (head_dim + kTileCols - 1) / kTileCols * kTileCols;
#pragma omp parallel for schedule(static)
  for (int64_t head = 0; head < config.n_heads; ++head) {
    std::vector<float> w(static_cast<size_t>(kGramDepth * pitch));  // some outputs of the head
    std::vector<double> sums(static_cast<size_t>(head_dim * pitch));
    for (int64_t n0 = 0; n0 < o.rows; n0 += kGramDepth) {
      const int64_t depth = std::min(kGramDepth, o.rows - n0);
      with_dtype(o.type, [&]<class T>(const T*) {
        for (int64_t n = 0; n < depth; ++n) {
          const T* from = static_cast<const T*>(o.data) + (n0 + n) * o.cols + head * head_dim;
          for (int64_t d = 0; d < head_dim; ++d) {
            w[static_cast<size_t>(n * pitch + d)] = to_float(from[d]);
          }
        }
      });
      for (int64_t i = 0; i < head_dim; i += kTileRows) {
        for (int64_t j = 0; j < pitch; j += kTileCols) {
          multiply_rows(std::min(kTileRows, head_dim - i),
                        TileRows{&w[static_cast<size_t>(i)], 1, pitch}, &w[static_cast<size_t>(j)],
                        pitch, depth, [&](int r, const Columns& part) {
                          double* to = &sums[static_cast<size_t>((i + r) * pitch + j)];
                          for (int64_t c = 0; c < kTileCols; ++c) to[c] += double{part[c]};
                        });
        }
      }
    }
    for (int64_t i = 0; i < head_dim; ++i) {
      for (int64_t j = 0; j < head_dim; ++j) {
        grams[(head * head_dim + i) * head_dim + j] =
            static_cast<float>(sums[static_cast<size_t>(i * pitch + j)]);
      }
    }
  }
}

}  // namespace winnow::cpu
