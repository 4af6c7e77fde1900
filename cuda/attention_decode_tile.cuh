// One warp's work in decode attention on tensor cores: a tile of K/V rows, from global memory
// straight into the registers that mma.sync takes them from, and the running softmaxes of 8 query
// heads.
//
//   scores [16 rows, 8 heads] = K [16, head_dim] * Q^T [head_dim, 8]
//   out^T  [head_dim, 8]     += V^T [head_dim, 16] * 2^(scores - max) [16, 8]
//
// Rows of K are the side of 16 of the instruction, query heads its side of 8, so that a group of 4
// wastes half of little. Lane 4 g + c holds, of the 16 rows of a block (mma's own layout, PTX ISA):
//
//   scores   rows g, g + 8          heads 2c, 2c + 1
//   K        rows g, g + 8          elements 32 j + 8 c .. 8 c + 7       16 bytes, one load each
//   V        rows 2c, 2c + 1 (+ 8)  elements 64 j + 8 g .. 8 g + 7       16 bytes, one load each
//   out      heads 2c, 2c + 1       elements 64 j + 8 g .. 8 g + 7
//
// A sum over head_dim may take the elements in any order, if K and Q take the same. So the order is
// chosen such that what a lane needs for 2 steps of the sum lies together; the outputs' elements
// are numbered with the same freedom. No shared memory, no exchange between lanes but for P, whose
// 8 x 8 blocks are transposed in registers by movmatrix.
#pragma once

#include "cuda/attention.cuh"

namespace winnow::cuda {

constexpr int kBlockRows = 16;   // of one mma
constexpr int kHeadsAtOnce = 8;  // query heads that share what is read

/// 16 bytes as mma takes them: 8 elements, two a word.
struct Words {
  uint32_t word[4];
};

/// Read once, so kept out of L1. An ordinary load, not one "of constant memory": the newest row is
/// written by a kernel that may still run when this one begins.
__device__ inline Words load_words(const void* from) {
  Words w;
  asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(w.word[0]), "=r"(w.word[1]), "=r"(w.word[2]), "=r"(w.word[3])
               : "l"(from));
  return w;
}

__device__ inline uint32_t load_word(const uint32_t* from) {
  uint32_t word;
  asm volatile("ld.global.u32 %0, [%1];" : "=r"(word) : "l"(from));
  return word;
}

/// c += a b: a [16, 16], b [16, 8], c [16, 8].
template <class T>
__device__ void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                    uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

/// The 8 x 8 matrix whose row `lane / 4` has its pair `lane % 4` here, transposed.
__device__ inline uint32_t transpose(uint32_t pair) {
  uint32_t turned;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(pair));
  return turned;
}

template <class T>
__device__ uint32_t pack_pair(float low, float high) {
  const Pack<T, 2> pair = {from_float<T>(low), from_float<T>(high)};
  uint32_t word;
  memcpy(&word, &pair, sizeof(word));
  return word;
}

template <class T>
__device__ float2 unpack_pair(uint32_t word) {
  Pack<T, 2> pair;
  memcpy(&pair, &word, sizeof(word));
  return {to_float(pair.value[0]), to_float(pair.value[1])};
}

/// The rows of one KV head.
template <class T>
struct HeadView {
  const T* k;            // [rows, head_dim]
  const T* v;            // [rows, head_dim]
  const uint32_t* mask;  // [rows]
  int rows;
};

/// A lane's part of 8 KB of keys and values, which is what a warp loads at once.
template <int kHeadDim>
struct Tile {
  static constexpr int kRows = 2048 / kHeadDim;
  static constexpr int kBlocks = kRows / kBlockRows;
  static constexpr int kKeyLoads = kHeadDim / 32;    // of a row, for a lane
  static constexpr int kValueLoads = kHeadDim / 64;  // the same

  Words k[kBlocks][2][kKeyLoads];
  Words v[kBlocks][4][kValueLoads];
  uint32_t mask[kBlocks][2];
};

__device__ inline int lane_g() {
  return static_cast<int>(threadIdx.x) % kWarp / 4;
}
__device__ inline int lane_c() {
  return static_cast<int>(threadIdx.x) % 4;
}

/// Rows [first, first + kRows). Those past the head's end, which may be anything, NaN too, are
/// stood in for by its last row; take() hides them.
template <class T, int kHeadDim>
__device__ void fetch(const HeadView<T>& head, int first, Tile<kHeadDim>& to) {
  const int g = lane_g();
  const int c = lane_c();
  const int last = head.rows - 1;
#pragma unroll
  for (int b = 0; b < Tile<kHeadDim>::kBlocks; ++b) {
    const int block = first + b * kBlockRows;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = min(block + g + 8 * r, last);
      const T* k = head.k + int64_t{row} * kHeadDim + 8 * c;
      to.mask[b][r] = load_word(head.mask + row);
#pragma unroll
      for (int j = 0; j < Tile<kHeadDim>::kKeyLoads; ++j) to.k[b][r][j] = load_words(k + 32 * j);
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = min(block + 2 * c + r % 2 + r / 2 * 8, last);
      const T* v = head.v + int64_t{row} * kHeadDim + 8 * g;
#pragma unroll
      for (int j = 0; j < Tile<kHeadDim>::kValueLoads; ++j) to.v[b][r][j] = load_words(v + 64 * j);
    }
  }
}

/// The 8 query heads, in K's order of elements: lane 4 g + c has elements 32 j + 8 c .. of head g.
template <int kHeadDim>
struct Queries {
  Words q[kHeadDim / 32];
};

/// q [n, head_dim] of n <= 8 heads; the others are zeros.
template <class T, int kHeadDim>
__device__ Queries<kHeadDim> load_queries(const T* q, int n) {
  Queries<kHeadDim> to = {};
  if (lane_g() < n) {
#pragma unroll
    for (int j = 0; j < kHeadDim / 32; ++j) {
      to.q[j] = load_words(q + lane_g() * kHeadDim + 32 * j + 8 * lane_c());
    }
  }
  return to;
}

/// The running softmaxes of 8 query heads over a warp's rows (cuda/attention.cuh). max is the same
/// in all lanes of a head; sum is over the lane's own rows.
template <int kHeadDim>
struct Softmaxes {
  float max[2] = {kUnseen, kUnseen};  // of heads 2c, 2c + 1
  float sum[2] = {};
  float out[kHeadDim / 16][4] = {};  // [4 j + i]: elements 64 j + 8 g + 2 i, of both; then the next
};

/// Scores of the tile's rows, kUnseen where a row is hidden from the head or past the end.
/// first: the tile's first row; n_rows: of the head; first_bit: of the mask, for the first head
template <class T, int kHeadDim>
__device__ void score(const Tile<kHeadDim>& tile, const Queries<kHeadDim>& queries, float scale,
                      int first, int n_rows, int first_bit,
                      float (&scores)[Tile<kHeadDim>::kBlocks][4]) {
#pragma unroll
  for (int b = 0; b < Tile<kHeadDim>::kBlocks; ++b) {
    float even[4] = {};  // two sums, so that each product waits only for the last but one
    float odd[4] = {};
#pragma unroll
    for (int j = 0; j < Tile<kHeadDim>::kKeyLoads; ++j) {
      const auto& k0 = tile.k[b][0][j].word;
      const auto& k1 = tile.k[b][1][j].word;
      const auto& q = queries.q[j].word;
      mma<T>(even, k0[0], k1[0], k0[1], k1[1], q[0], q[1]);
      mma<T>(odd, k0[2], k1[2], k0[3], k1[3], q[2], q[3]);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const bool inside = first + b * kBlockRows + lane_g() + e / 2 * 8 < n_rows;
      const int bit = first_bit + 2 * lane_c() + e % 2;
      const bool seen = inside && ((tile.mask[b][e / 2] >> bit) & 1U) != 0;
      scores[b][e] = seen ? (even[e] + odd[e]) * scale : kUnseen;
    }
  }
}

/// Raises the greatest scores to those of the tile, and rescales what was summed up before.
template <int kHeadDim>
__device__ void raise_max(const float (&scores)[Tile<kHeadDim>::kBlocks][4],
                          Softmaxes<kHeadDim>& s) {
  float factor[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float max = kUnseen;
#pragma unroll
    for (int b = 0; b < Tile<kHeadDim>::kBlocks; ++b) {
      max = fmaxf(max, fmaxf(scores[b][h], scores[b][h + 2]));
    }
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2) {
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, offset));
    }
    max = fmaxf(max, s.max[h]);
    factor[h] = exp2f(s.max[h] - base_of(max));
    s.max[h] = max;
    s.sum[h] *= factor[h];
  }
  if (!__any_sync(kAllLanes, factor[0] != 1 || factor[1] != 1)) return;
#pragma unroll
  for (auto& out : s.out) {
#pragma unroll
    for (int e = 0; e < 4; ++e) out[e] *= factor[e % 2];
  }
}

/// Adds the rows of a tile to the softmaxes. Weights are rounded to T before they are summed up, so
/// that those which meet the values sum up to 1.
template <class T, int kHeadDim>
__device__ void take(const Tile<kHeadDim>& tile, const Queries<kHeadDim>& queries, float scale,
                     int first, int n_rows, int first_bit, Softmaxes<kHeadDim>& s) {
  float scores[Tile<kHeadDim>::kBlocks][4];
  score<T>(tile, queries, scale, first, n_rows, first_bit, scores);
  raise_max(scores, s);
  const float base[2] = {base_of(s.max[0]), base_of(s.max[1])};
#pragma unroll
  for (int b = 0; b < Tile<kHeadDim>::kBlocks; ++b) {
    uint32_t weights[2];  // of rows g and g + 8, then of rows 2c, 2c + 1 and those + 8, head g
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      weights[r] =
          pack_pair<T>(exp2f(scores[b][2 * r] - base[0]), exp2f(scores[b][2 * r + 1] - base[1]));
      const float2 rounded = unpack_pair<T>(weights[r]);
      s.sum[0] += rounded.x;
      s.sum[1] += rounded.y;
      weights[r] = transpose(weights[r]);
    }
#pragma unroll
    for (int j = 0; j < Tile<kHeadDim>::kValueLoads; ++j) {
      const auto& v = tile.v[b];
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // words of two elements: one of each row, then the other
        const uint32_t v0 = v[0][j].word[i], v1 = v[1][j].word[i];
        const uint32_t v2 = v[2][j].word[i], v3 = v[3][j].word[i];
        mma<T>(s.out[4 * j + i], __byte_perm(v0, v1, 0x5410), __byte_perm(v0, v1, 0x7632),
               __byte_perm(v2, v3, 0x5410), __byte_perm(v2, v3, 0x7632), weights[0], weights[1]);
      }
    }
  }
}

}  // namespace winnow::cuda
