// The block of sums that every product is made of: up to 6 rows times 16 columns, which stay in
// registers while the depth goes by.
//
//        a [rows, depth]          b [depth, 16]             sums [rows, 16]
//     6 | a a a a ...   *    k | b0 ...... b15    =      6 | s0 ...... s15
//
// One step of k reads 16 neighbours of b (2 registers) and one number of each row of a, spread over
// all lanes: 8 loads for 12 multiply-adds of 8 lanes, so that the multipliers are the bound. a may
// lie any way; b has its 16 columns side by side.
#pragma once

#include <cstdint>

#include "src/cpu/simd.h"

namespace winnow::cpu {

constexpr int64_t kTileRows = 6;
constexpr int64_t kTileCols = 2 * kLanes;

/// One number for each column of a tile.
struct alignas(64) Columns {
  Vec half[2];

  float operator[](int64_t j) const { return half[j / kLanes][j % kLanes]; }
  void set(int64_t j, float value) { half[j / kLanes][j % kLanes] = value; }
};

/// a[r][k] = at[r * row + k * step]
struct TileRows {
  const float* at;
  int64_t row;
  int64_t step;
};

/// sum[r][j] = sum over k, in ascending order, of a[r][k] * b[k][j], given row by row to
/// take(r, sum[r]).  a [kRows, depth]; b [depth, kTileCols], rows `b_row` apart
template <int kRows, class Take>
inline void multiply(const TileRows& a, const float* b, int64_t b_row, int64_t depth, Take&& take) {
  Vec low[kRows];
  Vec high[kRows];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) low[r] = high[r] = Vec{};
  for (int64_t k = 0; k < depth; ++k) {
    const Vec b0 = load(b + k * b_row);
    const Vec b1 = load(b + k * b_row + kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const float a_rk = a.at[r * a.row + k * a.step];
      low[r] += a_rk * b0;
      high[r] += a_rk * b1;
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) take(r, Columns{{low[r], high[r]}});
}

/// The same for `rows` of them, 1 to kTileRows.
template <class Take>
void multiply_rows(int64_t rows, const TileRows& a, const float* b, int64_t b_row, int64_t depth,
                   Take&& take) {
  switch (rows) {
    case 1: return multiply<1>(a, b, b_row, depth, take);
    case 2: return multiply<2>(a, b, b_row, depth, take);
    case 3: return multiply<3>(a, b, b_row, depth, take);
    case 4: return multiply<4>(a, b, b_row, depth, take);
    case 5: return multiply<5>(a, b, b_row, depth, take);
    default: return multiply<6>(a, b, b_row, depth, take);
  }
}

}  // namespace winnow::cpu
