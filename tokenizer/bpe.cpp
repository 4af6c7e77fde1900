#include "tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "src/base/error.h"

namespace winnow {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

}  // namespace

BpeMerges::BpeMerges(std::vector<BpeMerge> merges, size_t n_ids)
    : merges_(std::move(merges)), starts_(n_ids + 1, 0) {
  for (const BpeMerge& merge : merges_) ++starts_[static_cast<size_t>(merge.left) + 1];
  for (size_t id = 0; id < n_ids; ++id) starts_[id + 1] += starts_[id];
}

const BpeMerge* BpeMerges::find(int32_t left, int32_t right) const {
  const BpeMerge* first = merges_.data() + starts_[static_cast<size_t>(left)];
  const BpeMerge* last = merges_.data() + starts_[static_cast<size_t>(left) + 1];
  const BpeMerge* at = std::lower_bound(
      first, last, right, [](const BpeMerge& merge, int32_t id) { return merge.right < id; });
  return at != last && at->right == right ? at : nullptr;
}

void BpeEncoder::append_ids(std::string_view word, std::vector<int32_t>& ids) {
  if (word.empty()) return;
  start(word);
  while (!offers_.empty()) {
    std::pop_heap(offers_.begin(), offers_.end(), std::greater<>());
    const uint64_t best = offers_.back();
    offers_.pop_back();
    const auto place = static_cast<uint32_t>(best);
    // An offer is stale where one of its two was joined with another in the meantime.
    const BpeMerge* merge = merge_at(place);
    if (merge != nullptr && merge->rank == best >> 32) join(place, merge->result);
  }
  for (uint32_t place = 0; place != kNone; place = symbols_[place].next) {
    ids.push_back(symbols_[place].id);
  }
}

void BpeEncoder::start(std::string_view word) {
  WINNOW_CHECK(word.size() < kNone, "a word of ", word.size(), " bytes");
  const auto size = static_cast<uint32_t>(word.size());
  symbols_.resize(size);
  for (uint32_t place = 0; place < size; ++place) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(word[place])];
    WINNOW_CHECK(id >= 0, "no piece for the byte ", quoted(word.substr(place, 1)));
    symbols_[place] = {id, place == 0 ? kNone : place - 1, place + 1 == size ? kNone : place + 1};
  }
  offers_.clear();
  offers_.reserve(size);
  for (uint32_t place = 0; place < size; ++place) {
    const BpeMerge* merge = merge_at(place);
    if (merge != nullptr) offers_.push_back(uint64_t{merge->rank} << 32 | place);
  }
  std::make_heap(offers_.begin(), offers_.end(), std::greater<>());
}

/// The merge of the piece at `place` with the next one; nullptr where there is none.
const BpeMerge* BpeEncoder::merge_at(uint32_t place) const {
  const Symbol& symbol = symbols_[place];
  if (symbol.id < 0 || symbol.next == kNone) return nullptr;
  return merges_.find(symbol.id, symbols_[symbol.next].id);
}

void BpeEncoder::offer(uint32_t place) {
  const BpeMerge* merge = merge_at(place);
  if (merge == nullptr) return;
  offers_.push_back(uint64_t{merge->rank} << 32 | place);
  std::push_heap(offers_.begin(), offers_.end(), std::greater<>());
}

/// Joins the piece at `place` with the next one.
void BpeEncoder::join(uint32_t place, int32_t result) {
  Symbol& left = symbols_[place];
  Symbol& right = symbols_[left.next];
  left.id = result;
  left.next = right.next;
  right.id = -1;
  if (left.next != kNone) symbols_[left.next].prev = place;
  if (left.prev != kNone) offer(left.prev);
  offer(place);
}

}  // namespace winnow
