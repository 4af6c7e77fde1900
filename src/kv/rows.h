// K/V rows as the steps of a device see them, and what is decided about them. Plain structs; every
// pointer is device memory.
#pragma once

#include <cstdint>

namespace winnow {

struct Cut;

/// Rows of a page. Pages are counted in each KV head from its row 0; the last one may be part full.
constexpr int64_t kPageRows = 16;

/// What lets a decode step's query heads read some pages of a KV head only (src/kv/quest.h). What
/// is of the layer at work is the same memory for all layers.
struct KvPages {
  void* keys = nullptr;      // [pages, 2, head_dim] T: least and greatest of each channel of k
  int64_t n_read = 0;        // pages that each query head reads; 0: all rows, and no page is chosen
  float* score = nullptr;    // [n_heads, stride] fp32, of the layer at work: of each page
  int64_t stride = 0;        // a multiple of 4, and enough for the pages of any head
  Cut* cut = nullptr;        // [n_heads] of the layer at work
  int32_t* zone = nullptr;   // [3, n_kv_heads] of the layer at work: begin, end, k; see Zones
  uint32_t* mask = nullptr;  // [entries] of the layer at work: who reads each row
};

/// The K/V rows of one layer, ragged over KV heads: row r of KV head h is entry first[h] + r.
///
///   appending   | row 0 | row 1 | ... | slot[h]  <- new rows go here ->
///               |<--- visible[h] of them ------>|
///
///   a ring      | row 0 | ... | older | newest | oldest | ... |    the next row overwrites the
///                             |<--- ring_rows[h], turning --->|    oldest: that is slot[h]
///
/// Row i of a batch becomes row slot[h] + appended + i. It attends to those of the rows [0,
/// visible[h] + appended + i) whose mask has the query head's bit; it is itself the last one added.
/// A ring takes one row at a time. Where there is a window, a batch row sees only those of these
/// rows whose place in the text is one of the last `window` up to its own.
struct KvRows {
  void* k = nullptr;                   // [entries, head_dim] T, rotated to their positions
  void* v = nullptr;                   // [entries, head_dim] T
  int32_t* position = nullptr;         // [entries] place in the text
  uint32_t* mask = nullptr;            // [entries] bit g: query head h * group + g sees the row
  void* k_plain = nullptr;             // [entries, head_dim] T, not rotated; see places_in_cache
  const int64_t* first = nullptr;      // [n_kv_heads]
  const int32_t* slot = nullptr;       // [n_kv_heads] row that the pass's first row becomes
  const int32_t* visible = nullptr;    // [n_kv_heads] rows that it may see, itself included
  const int32_t* ring_rows = nullptr;  // [n_kv_heads] last rows that are a ring; 0: none
  int64_t appended = 0;                // rows that earlier chunks of this pass have added to a head
  int64_t capacity = 0;                // no head holds more rows, ever: what launches are sized for
  int64_t entries = 0;                 // that there is memory for, of all heads
  int64_t window = 0;                  // places of the text that a token sees; 0: all
  float* score = nullptr;              // [entries] fp32: attention that each row got so far, see
                           // Device::add_column_sums; 0 where there is no row yet; or null
  KvPages pages = {};  // pages.keys is null where the layer has none

  /// Whether rows are rotated to their place in the cache, which changes as others leave, and not
  /// to their place in the text (the StreamingLLM experiment). k_plain then holds the keys, and k
  /// is made from it by Device::rotate_rows. Otherwise k_plain is null.
  constexpr bool places_in_cache() const { return k_plain != nullptr; }

  /// The row that batch row i becomes.
  constexpr int64_t row_of(int64_t h, int64_t i) const { return slot[h] + appended + i; }

  /// Rows of KV head h that batch row i may see, masks aside.
  constexpr int64_t visible_to(int64_t h, int64_t i) const { return visible[h] + appended + i; }

  /// The first place in the text that batch row i sees. Its own row must be there.
  constexpr int32_t window_start(int64_t h, int64_t i) const {
    return window_start_of(first[h] + row_of(h, i));
  }
  /// The same for the token whose row is `entry`.
  constexpr int32_t window_start_of(int64_t entry) const {
    return window == 0 ? 0 : static_cast<int32_t>(position[entry] - window + 1);
  }

  /// Whether the window that begins at `start` shows this entry.
  constexpr bool in_window(int64_t entry, int32_t start) const {
    return window == 0 || position[entry] >= start;
  }

  /// The page of KV head h that holds its row r. However rooms are divided into pages, those of a
  /// head end before the next one's: floor(a / 16) + ceil(b / 16) <= floor((a + b) / 16) + 1.
  constexpr int64_t page_of(int64_t h, int64_t r) const {
    return first[h] / kPageRows + h + r / kPageRows;
  }

  /// How many older rows the head holds beside row r, once the row at slot is the newest.
  constexpr int64_t place_of(int64_t h, int64_t r) const {
    const int64_t ring_first = visible[h] - ring_rows[h];
    if (r < ring_first || ring_rows[h] == 0) return r;
    return ring_first + (r - slot[h] - 1 + ring_rows[h]) % ring_rows[h];
  }
};

/// A new row is seen by its whole group.
constexpr uint32_t kSeenByAll = 0xffffffffU;

/// The bits of a mask that stand for the `group` query heads of a KV head, at most 32.
constexpr uint32_t mask_of_group(int64_t group) {
  return group >= 32 ? kSeenByAll : (1U << group) - 1;
}

/// How the rows of each KV head are divided before a selection.
///
///   0          begin                            end          rows
///   | all kept | the best k of each list are kept | all kept |
///
/// The queries that score rows may see some more behind them, which are there for this alone.
struct Zones {
  const int32_t* rows = nullptr;   // [n_kv_heads] rows held
  const int32_t* begin = nullptr;  // [n_kv_heads]
  const int32_t* end = nullptr;    // [n_kv_heads]
  const int32_t* k = nullptr;      // [n_kv_heads]
  int64_t max_rows = 0;            // the most that a head holds: what launches are sized for
  const int32_t* seen = nullptr;   // [n_kv_heads] rows that queries may see; null: those held

  /// Rows behind those that are held count where a query's weights are summed up, and have no place
  /// in a list. Never fewer than rows[h].
  constexpr int32_t seen_rows(int64_t h) const { return seen != nullptr ? seen[h] : rows[h]; }
};

/// What a list takes from its zone: every row of a greater score, and of those with this very score
/// the ones up to row last_tie. A score of -infinity is never taken. -0 and +0 are equal. A NaN
/// here says that one of the scores was NaN.
struct Cut {
  float score = 0;
  int32_t last_tie = -1;

  constexpr bool takes(float s, int64_t row) const {
    return s > score || (s == score && row <= last_tie);
  }
};

/// Scores of a layer's rows: one list for each query head, or one for each KV head.
struct ScoreLists {
  int64_t n = 0;           // n_heads, n_kv_heads, or 0: nothing is scored, no zone has rows to take
  int64_t stride = 0;      // elements from list to list, a multiple of 4
  float* score = nullptr;  // [n, stride] fp32; -infinity: not to be taken
  Cut* cut = nullptr;      // [n]
};

/// The pages of each query head as a list to be cut, and the zones of those lists.
constexpr ScoreLists page_lists(const KvPages& pages, int64_t n_heads) {
  return {.n = n_heads, .stride = pages.stride, .score = pages.score, .cut = pages.cut};
}
constexpr Zones page_zones(const KvPages& pages, int64_t n_kv_heads) {
  return {.begin = pages.zone,
          .end = pages.zone + n_kv_heads,
          .k = pages.zone + 2 * n_kv_heads,
          .max_rows = pages.stride};
}

/// Pages that a layer of `entries` rows over its heads has memory for: see KvRows::page_of.
constexpr int64_t pages_of(int64_t entries, int64_t n_kv_heads) {
  return entries / kPageRows + n_kv_heads;
}

/// Which pages a method reads in a decode step.
struct Paging {
  int64_t n_read = 0;        // of each query head; 0: all rows
  int64_t dense_layers = 0;  // the first so many layers read all rows

  bool operator==(const Paging&) const = default;
};

/// What a store holds beside keys, values, positions and masks.
struct RowExtras {
  bool places_in_cache = false;  // see KvRows
  bool scores = false;           // KvRows::score
  Paging paging = {};            // KvRows::pages
};

/// The rows of the KV heads of several layers in one piece of memory, each head's at a stretch:
/// a segment. Segments lie in ascending order, with room between them.
struct RowPool {
  void* k = nullptr;            // [entries, head_dim] T, as they are stored
  void* v = nullptr;            // [entries, head_dim] T
  int32_t* position = nullptr;  // [entries]
  uint32_t* mask = nullptr;     // [entries]
  float* score = nullptr;       // [entries] fp32; -infinity between segments
  int64_t entries = 0;          // less than 2^31
  int64_t n_segments = 0;
  const int64_t* first = nullptr;  // [n_segments] entry of row 0
  const int32_t* rows = nullptr;   // [n_segments]
};

/// Where the rows of a pool that stay are moved: never up.
struct RowMove {
  const int64_t* first = nullptr;   // [n_segments] entry of a segment's row 0 from now on
  const int64_t* before = nullptr;  // [n_segments] rows that stay of the segments before it
  int64_t total = 0;                // rows that stay
};

/// The rows of each KV head that are kept, by number, in ascending order.
struct KeptRows {
  int64_t stride = 0;        // elements from head to head; no head keeps more
  int32_t* row = nullptr;    // [n_kv_heads, stride]
  uint32_t* mask = nullptr;  // [n_kv_heads, stride] their masks from now on; null: as they are
  int32_t* count = nullptr;  // [n_kv_heads]
};

/// How the scores of a group's query heads become one.
enum class GroupScore { kMean, kMax, kSum };

/// What becomes of a row's weights under several queries: their mean, their sum, or the square root
/// of the sum of their squares.
enum class WindowSum { kMean, kSum, kNorm };

/// The size of a row's value: as it is stored, or as it comes into the residual stream.
enum class ValueNorm {
  kValue,     // ||v||_2
  kOutput,    // ||v W_O||_2, W_O the rows of the output matrix that belong to the query head
  kOutputL1,  // ||v W_O||_1
};

/// How neighbouring scores become one.
enum class Pool { kAverage, kMax };

/// What a text's queries are like before they are rotated: sums over those that count, each turned
/// back to place 0. All zeros at first.
struct QueryStatistics {
  float* sum = nullptr;       // [n_heads, head_dim] fp32: of q
  float* products = nullptr;  // [n_heads, head_dim, head_dim] fp32: of q q^T

  /// The first tokens of a text draw attention whatever they say, and their queries are unlike
  /// those of other tokens: they do not count.
  static constexpr int64_t kSkipped = 4;

  /// Queries that count, of the tokens at places [first, first + n) of a text.
  static constexpr int64_t counted(int64_t first, int64_t n) {
    const int64_t skipped = first < kSkipped ? kSkipped - first : 0;
    return skipped < n ? n - skipped : 0;
  }
};

/// The tokens to come, whose attention Device::expected_scores estimates.
struct Outlook {
  int64_t n_queries = 0;   // that the statistics are of: those that count
  int64_t position = 0;    // place of the next token in the text
  int64_t n_tokens = 512;  // tokens from there on, at least 1
  float epsilon = 0;       // added to a row's weight, so that its value always matters
};

}  // namespace winnow
