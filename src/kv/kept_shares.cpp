#include "src/kv/kept_shares.h"

#include <bit>

#include "src/base/error.h"

namespace winnow {

void check_kept(const KeptRecord& record) {
  WINNOW_CHECK(record.n_tokens >= 0 && record.n_layers >= 0 && record.n_kv_heads >= 0,
               "a negative size");
  WINNOW_CHECK(record.group >= 1 && record.group <= 32, "a mask has 32 bits");
  WINNOW_CHECK(static_cast<int64_t>(record.heads.size()) == record.n_layers * record.n_kv_heads,
               "one for each layer and KV head");
  for (const KeptHead& head : record.heads) {
    WINNOW_CHECK(head.position.size() == head.mask.size(), "one mask for each position");
    int64_t least = 0;
    for (const int32_t position : head.position) {
      WINNOW_CHECK(position >= least && position < record.n_tokens, "position ", position);
      least = int64_t{position} + 1;
    }
  }
}

uint32_t group_bits(const KeptRecord& record) {
  return ~uint32_t{0} >> (32 - record.group);
}

int64_t kept_pairs(const KeptRecord& record) {
  return record.n_layers * record.n_kv_heads * record.group;
}

int64_t kept_rows(const KeptRecord& record) {
  int64_t rows = 0;
  for (const KeptHead& head : record.heads) rows += static_cast<int64_t>(head.position.size());
  return rows;
}

std::vector<int64_t> kept_counts(const KeptRecord& record) {
  check_kept(record);
  const uint32_t bits = group_bits(record);
  std::vector<int64_t> counts(static_cast<size_t>(record.n_tokens), 0);
  for (const KeptHead& head : record.heads) {
    for (size_t r = 0; r < head.position.size(); ++r) {
      counts[static_cast<size_t>(head.position[r])] += std::popcount(head.mask[r] & bits);
    }
  }
  return counts;
}

int kept_level(int64_t count, int64_t pairs) {
  if (count <= 0) return 0;
  if (count >= pairs) return kKeptLevels - 1;
  int level = 1;
  for (const int64_t percent : kKeptLevelPercent) {
    if (count * 100 >= percent * pairs) ++level;
  }
  return level;
}

}  // namespace winnow
