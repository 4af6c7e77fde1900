// The k greatest scores of a list, by radix select: the k-th is found digit by digit, and nothing
// is sorted.
//
// Scores and rows together become numbers, no two of which are equal, and the greater is taken
// first:
//
//   order(score, row) = key(score) << 32 | ~row       key ascends with the score; -0 has +0's key
//
// A histogram of the upper 11 bits says which value of them the k-th order has, and how many orders
// are above; the next 11 bits are then counted among the orders that share these, and so on, until
// only one is left. All 64 bits are needed only where many scores are equal:
//
//   orders    7 1 | 4 9 | 4 2 | 4 8 | 1 0            k = 3
//   digit 1   one 7, three 4s: the third begins with 4 and is the second of those
//   digit 2   of the 4s: one 9, one 8: it is 4 8
//
// One block a list. The first digit is counted over the whole zone, in stretches that double. After
// each it is known which digits cannot be among the k greatest any more, and they are no longer
// counted: most scores cost a load and a comparison, and few an atomic addition.
//
//   rows      begin |---|---|-------|---------------|----------------------------| end
//   counted          all >=f1  >=f2        >=f3                  >=f4
//
// As soon as the orders that are left fit into shared memory they are copied there, which is after
// the first digit unless many scores are close to the k-th. Bound by memory: two reads of the zone,
// and by the latency of barriers where lists are few or short.
#include <algorithm>
#include <cub/block/block_scan.cuh>

#include "cuda/check.h"
#include "cuda/top_k.h"
#include "cuda/types.cuh"

namespace winnow::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kPacks = 4;  // loads of 4 scores that a thread has in flight
constexpr int kTileRows = kThreads * kPacks * 4;
constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;
constexpr int kBinsPerThread = kBins / kThreads;
constexpr int kFirstShift = 64 - kDigitBits;
constexpr int kKeyShift = 32 - kDigitBits;    // the first digit as a part of the key
constexpr int kCapacity = 4096;               // orders that shared memory holds
constexpr uint32_t kHiddenKey = 0x007fffffU;  // of -infinity

using Scores = Pack<float, 4>;
using Scan = cub::BlockScan<int32_t, kThreads, cub::BLOCK_SCAN_WARP_SCANS>;

/// Rows [begin, end) of a list.
struct Zone {
  const float* score;  // [stride], aligned to 16 bytes
  int32_t begin;
  int32_t end;
};

/// A digit's value whose orders hold the one that is looked for.
struct Bin {
  int32_t digit;
  int32_t above;  // orders with a greater digit
  int32_t count;  // orders with this one
};

/// The orders that agree with the k-th in the bits known so far.
struct Selection {
  uint64_t bits;  // those known, 0 below
  uint64_t mask;  // 1 where known
  int32_t rank;   // the k-th order is the rank-th greatest of these
  int32_t count;  // how many there are

  __device__ bool holds(uint64_t order) const { return ((order ^ bits) & mask) == 0; }

  /// Keeps those with this digit at `shift`.
  __device__ void narrow(const Bin& bin, int shift) {
    bits |= uint64_t(bin.digit) << shift;
    mask = ~uint64_t{0} << shift;
    rank -= bin.above;
    count = bin.count;
  }
};

struct Shared {
  int32_t histogram[kBins];
  Bin found;
  int32_t n_collected;
  uint64_t collected[kCapacity];  // in no order
  Scan::TempStorage scan;
};

/// Positive floats ascend like their bits, negative ones descend and lie below them.
__device__ uint32_t key_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0F);  // -0 becomes +0
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

__device__ uint64_t order_of(float score, int32_t row) {
  return uint64_t{key_of(score)} << 32 | ~static_cast<uint32_t>(row);
}

/// The cut that takes this order and all above it.
__device__ Cut cut_at(uint64_t order) {
  const auto key = static_cast<uint32_t>(order >> 32);
  const uint32_t bits = (key >> 31) != 0 ? key & 0x7fffffffU : ~key;
  return {__uint_as_float(bits), static_cast<int32_t>(~static_cast<uint32_t>(order))};
}

/// Makes scores that are not of the zone -infinity.  scores: of row .. row + 3
__device__ void clip(const Zone& zone, int64_t row, Scores& scores) {
  if (row >= zone.begin && row + 4 <= zone.end) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (row + i < zone.begin || row + i >= zone.end) scores.value[i] = -INFINITY;
  }
}

// Each of the functions below is called by the whole block.

/// Calls visit(score, row) for rows [from, to) of the zone, and with -infinity for some others.
/// from a multiple of 4
template <class Visit>
__device__ void for_each_score(const Zone& zone, int64_t from, int64_t to, Visit visit) {
  for (int64_t row = from + 4 * threadIdx.x; row < to; row += kTileRows) {
    Scores scores[kPacks];
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int64_t at = row + i * 4 * kThreads;
      scores[i] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
      if (at < to) scores[i] = load_pack<4>(zone.score + at);
    }
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int64_t at = row + i * 4 * kThreads;
      clip(zone, at, scores[i]);
#pragma unroll
      for (int j = 0; j < 4; ++j) visit(scores[i].value[j], static_cast<int32_t>(at + j));
    }
  }
}

/// The first row that is loaded: that of the zone or up to three before it.
__device__ int64_t first_row(const Zone& zone) {
  return zone.begin / 4 * 4;
}

__device__ void clear_histogram(Shared& shared) {
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) shared.histogram[bin] = 0;
  __syncthreads();
}

/// Sums the histogram up from its greatest digit: the bin that holds the order of this rank, 1 the
/// greatest, and the total. The bin means nothing unless 1 <= rank <= total. To be called with a
/// barrier behind the last addition to the histogram.
__device__ Bin find_bin(Shared& shared, int32_t rank, int32_t& total) {
  const int first = kBins - 1 - static_cast<int>(threadIdx.x) * kBinsPerThread;
  int32_t count[kBinsPerThread];
  int32_t above[kBinsPerThread];
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) count[i] = shared.histogram[first - i];
  Scan(shared.scan).ExclusiveSum(count, above, total);
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    if (above[i] < rank && rank <= above[i] + count[i]) {
      shared.found = {first - i, above[i], count[i]};
    }
  }
  __syncthreads();
  return shared.found;
}

/// What the first digit says about a list.
struct FirstDigit {
  bool has_nan;
  int32_t n_candidates;  // all of them, or some number above k
  Bin bin;               // of the k-th, where there are more than k
};

/// Whatever is still to come, the k-th of all is no less than the k-th of those counted so far:
/// lesser digits than its are not counted from then on. This begins when more than k are counted,
/// so that k candidates in all are told from more.
__device__ FirstDigit count_first_digit(Shared& shared, const Zone& zone, int32_t k) {
  clear_histogram(shared);
  FirstDigit result{};
  uint32_t floor = kHiddenKey + 1;
  const int64_t begin = first_row(zone);
  for (int64_t from = begin, to = begin + kTileRows; from < zone.end; from = to, to += to - begin) {
    bool nan = false;
    for_each_score(zone, from, min(to, int64_t{zone.end}), [&](float score, int32_t) {
      nan |= isnan(score);
      const uint32_t key = key_of(score);
      if (key >= floor) atomicAdd(&shared.histogram[key >> kKeyShift], 1);
    });
    result.has_nan |= __syncthreads_or(static_cast<int>(nan)) != 0;
    result.bin = find_bin(shared, k, result.n_candidates);
    if (result.n_candidates > k) floor = uint32_t(result.bin.digit) << kKeyShift;
  }
  return result;
}

/// Calls visit(order) for the orders that were copied to shared memory, or, where none were, for
/// those of the zone and some others of score -infinity.
template <class Visit>
__device__ void for_each_order(const Shared& shared, const Zone& zone, int32_t n_collected,
                               Visit visit) {
  if (n_collected > 0) {
    for (int i = threadIdx.x; i < n_collected; i += kThreads) visit(shared.collected[i]);
  } else {
    for_each_score(zone, first_row(zone), zone.end,
                   [&](float score, int32_t row) { visit(order_of(score, row)); });
  }
}

/// Copies the selected orders to shared memory. There are at most kCapacity.
__device__ void collect(Shared& shared, const Zone& zone, const Selection& selection) {
  if (threadIdx.x == 0) shared.n_collected = 0;
  __syncthreads();
  for_each_order(shared, zone, 0, [&](uint64_t order) {
    if (selection.holds(order)) shared.collected[atomicAdd(&shared.n_collected, 1)] = order;
  });
  __syncthreads();
}

/// The digit at `shift` of the k-th order.
__device__ Bin count_digit(Shared& shared, const Zone& zone, int32_t n_collected,
                           const Selection& selection, int shift) {
  clear_histogram(shared);
  for_each_order(shared, zone, n_collected, [&](uint64_t order) {
    if (selection.holds(order)) atomicAdd(&shared.histogram[(order >> shift) % kBins], 1);
  });
  __syncthreads();
  int32_t total = 0;
  return find_bin(shared, selection.rank, total);
}

/// Writes the cut at the one order that is left when enough digits are known: all of them, at last.
__device__ void write_kth(Shared& shared, const Zone& zone, Selection selection, Cut* cut) {
  int32_t n_collected = 0;
  for (int shift = kFirstShift; selection.count > 1 && shift > 0;) {
    if (n_collected == 0 && selection.count <= kCapacity) {
      collect(shared, zone, selection);
      n_collected = selection.count;
    }
    shift = max(shift - kDigitBits, 0);
    selection.narrow(count_digit(shared, zone, n_collected, selection, shift), shift);
  }
  for_each_order(shared, zone, n_collected, [&](uint64_t order) {
    if (selection.holds(order)) *cut = cut_at(order);
  });
}

/// One block a list.
__global__ void __launch_bounds__(kThreads)
    top_k_kernel(Zones zones, ScoreLists lists, int64_t lists_per_head) {
  __shared__ Shared shared;
  const int64_t list = blockIdx.x;
  const int64_t head = list / lists_per_head;
  const Zone zone = {lists.score + list * lists.stride, zones.begin[head], zones.end[head]};
  const int32_t k = zones.k[head];

  const FirstDigit first = count_first_digit(shared, zone, k);
  if (first.has_nan || k <= 0 || first.n_candidates <= k) {
    const float score = first.has_nan ? NAN : k <= 0 ? INFINITY : -INFINITY;
    if (threadIdx.x == 0) lists.cut[list] = {score, -1};
    return;
  }
  Selection selection{.bits = 0, .mask = 0, .rank = k, .count = first.n_candidates};
  selection.narrow(first.bin, kFirstShift);
  write_kth(shared, zone, selection, &lists.cut[list]);
}

}  // namespace

void top_k(const Zones& zones, const ScoreLists& lists, int64_t n_kv_heads, Stream stream) {
  if (lists.n == 0) return;
  top_k_kernel<<<grid_size(lists.n), kThreads, 0, stream>>>(
      zones, lists, std::max<int64_t>(lists.n / n_kv_heads, 1));
  check_launch("top_k");
}

}  // namespace winnow::cuda
