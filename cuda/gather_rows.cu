// Rows that stay, out of one cache, side by side into another: key, value, position, mask and
// what attention they got.
//
// Block (b, h) takes words [b * kThreads, (b + 1) * kThreads) of KV head h's rows, one a thread: a
// word of keys and the same of values. A word is 16 bytes where rows allow it, else 4 (a row is
// whole words of 4 bytes: its elements are even in number). Bound by memory.
#include "cuda/check.h"
#include "cuda/kernels.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 256;

/// Words of both: keys and values [entries, row_words].
template <class Word>
struct Gathering {
  KvRows from;
  KvRows to;
  KeptRows kept;
  const Word* from_k;
  const Word* from_v;
  Word* to_k;
  Word* to_v;
  int row_words;
};

template <class Word>
__global__ void gather_rows_kernel(const Gathering<Word> g) {
  const int64_t h = blockIdx.y;
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t i = at / g.row_words;
  const int64_t word = at % g.row_words;
  if (i >= g.kept.count[h]) return;
  const int64_t source = g.from.first[h] + g.kept.row[h * g.kept.stride + i];
  const int64_t target = g.to.first[h] + i;
  g.to_k[target * g.row_words + word] = g.from_k[source * g.row_words + word];
  g.to_v[target * g.row_words + word] = g.from_v[source * g.row_words + word];
  if (word != 0) return;
  const uint32_t* mask = g.kept.mask;
  g.to.position[target] = g.from.position[source];
  if (g.from.score != nullptr && g.to.score != nullptr) g.to.score[target] = g.from.score[source];
  g.to.mask[target] = mask != nullptr ? mask[h * g.kept.stride + i] : g.from.mask[source];
}

/// Where the keys are that both have.
struct Keys {
  const void* from;
  void* to;
};

Keys keys_of(const KvRows& from, const KvRows& to) {
  const bool plain = from.places_in_cache() && to.places_in_cache();
  return {plain ? from.k_plain : from.k, plain ? to.k_plain : to.k};
}

template <class Word>
void launch(const KvRows& from, const KeptRows& kept, const KvRows& to, int64_t n_kv_heads,
            int64_t row_bytes, Stream stream) {
  const Keys keys = keys_of(from, to);
  const int64_t row_words = row_bytes / static_cast<int64_t>(sizeof(Word));
  const Gathering<Word> gathering = {.from = from,
                                     .to = to,
                                     .kept = kept,
                                     .from_k = static_cast<const Word*>(keys.from),
                                     .from_v = static_cast<const Word*>(from.v),
                                     .to_k = static_cast<Word*>(keys.to),
                                     .to_v = static_cast<Word*>(to.v),
                                     .row_words = static_cast<int>(row_words)};
  const dim3 grid(blocks_for(kept.stride * row_words, kThreads), grid_size(n_kv_heads));
  gather_rows_kernel<<<grid, kThreads, 0, stream>>>(gathering);
  check_launch("gather_rows");
}

}  // namespace

void gather_rows(const KvRows& from, const KeptRows& kept, const KvRows& to, const Heads& heads,
                 DType type, Stream stream) {
  const Keys keys = keys_of(from, to);
  const auto row_bytes = heads.head_dim * static_cast<int64_t>(dtype_size(type));
  const bool packs = row_bytes % 16 == 0 && aligned16(keys.from) && aligned16(keys.to) &&
                     aligned16(from.v) && aligned16(to.v);
  packs ? launch<uint4>(from, kept, to, heads.n_kv_heads, row_bytes, stream)
        : launch<uint32_t>(from, kept, to, heads.n_kv_heads, row_bytes, stream);
}

}  // namespace winnow::cuda
