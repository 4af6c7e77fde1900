// Byte-pair encoding: how a word becomes pieces of a vocabulary.
//
// Whoever made the vocabulary began with the 256 bytes and, again and again, took the pair of
// pieces that stood side by side most often in some large text for a new piece. The list of these
// merges, in the order in which they were found, is the tokenizer; a merge's place there is its
// rank. Encoding does the same to a word: its bytes are the first pieces; then, of all pairs that
// stand side by side, the one with the lowest rank is joined, of equals the leftmost, until no pair
// is in the list.
//
//   rank 0  t h       t   h   e   r   e
//   rank 1  r e         0   -   -   1      the ranks of the pairs: t h is joined
//   rank 2  th e      th    e   r   e
//                         2   -   1        r e is joined
//                     th    e   re
//                         2   -            th e is joined
//                     the       re
//                             -            no such pair: these are the pieces
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace winnow {

/// Pieces `left` and `right`, side by side, may become `result`.
struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
  uint32_t rank = 0;  // lower ones are joined first
};

/// The list of merges, to be asked for a pair.
class BpeMerges {
 public:
  /// `merges` are sorted by left and right and have no pair twice; ids are 0 .. n_ids - 1.
  BpeMerges(std::vector<BpeMerge> merges, size_t n_ids);

  /// nullptr where the pair is not in the list. `left` is an id. Time is logarithmic in the number
  /// of pairs that begin with `left`.
  const BpeMerge* find(int32_t left, int32_t right) const;

  std::span<const BpeMerge> all() const { return merges_; }

 private:
  std::vector<BpeMerge> merges_;
  std::vector<uint32_t> starts_;  // merges_[starts_[id]] is the first that begins with id
};

/// Encodes one word after the other. Holds its working memory between them: one for each thread.
class BpeEncoder {
 public:
  /// The piece of each single byte; -1: has none, and never comes up.
  using ByteIds = std::array<int32_t, 256>;

  BpeEncoder(const BpeMerges& merges, const ByteIds& byte_ids)
      : merges_(merges), byte_ids_(byte_ids) {}

  /// Appends the ids of the pieces of `word`, which has less than 4 GiB. Time is linear in its
  /// length, up to a logarithm; working memory is some 20 bytes for each of its bytes.
  void append_ids(std::string_view word, std::vector<int32_t>& ids);

 private:
  /// A piece of the word and its neighbours, by the places where they begin.
  struct Symbol {
    int32_t id;     // -1: was joined with the one left of it
    uint32_t prev;  // kNone at the ends
    uint32_t next;
  };

  void start(std::string_view word);
  const BpeMerge* merge_at(uint32_t place) const;
  void offer(uint32_t place);
  void join(uint32_t place, int32_t result);

  const BpeMerges& merges_;
  const ByteIds& byte_ids_;
  std::vector<Symbol> symbols_;   // one for each byte, by its place
  std::vector<uint64_t> offers_;  // heap of rank << 32 | place, the lowest on top
};

}  // namespace winnow
