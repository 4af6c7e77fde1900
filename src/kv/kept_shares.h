// How many query heads still see each token, and the steps in which that is shown.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "src/kv/kept.h"

namespace winnow {

/// Fails with kInternal where the record contradicts itself: a count of heads or masks that is off,
/// positions that do not ascend or lie outside of the text, a group that a mask cannot hold.
void check_kept(const KeptRecord& record);

/// The bits of a mask that stand for query heads.
uint32_t group_bits(const KeptRecord& record);

/// All pairs of a layer and a query head: the most that can see a token.
int64_t kept_pairs(const KeptRecord& record);

/// The rows that all KV heads hold together.
int64_t kept_rows(const KeptRecord& record);

/// How many of those pairs see each token.  [n_tokens]
std::vector<int64_t> kept_counts(const KeptRecord& record);

/// Shares are shown in steps, the lower ones finer: over a long text most kept tokens are seen by a
/// few heads in a hundred.
///
///   level   0      1      2     3      4       5      6       7
///   share   none   <1%    <3%   <10%   <25%    <50%   >=50%   all
constexpr int kKeptLevels = 8;
constexpr std::array<int64_t, 5> kKeptLevelPercent = {1, 3, 10, 25, 50};  // where levels 2.. begin

/// The level of a token that `count` of `pairs` pairs see.
int kept_level(int64_t count, int64_t pairs);

}  // namespace winnow
