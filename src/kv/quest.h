// quest: arXiv 2406.10774. Nothing is dropped: which rows matter depends on the query, and only the
// token that asks knows it. Each query head looks through all rows in pages of 16 and reads the
// ones that may hold great scores. Of a page it knows the least m and the greatest M of each
// channel of its keys, from which no score of the page is greater than
//
//   score(page) = sum over channels d of max(q_d m_d, q_d M_d)  >=  q k for each key of the page
//
//   rows    | 0 .. 15 | 16 .. 31 | 32 .. 47 | 48 .. 63 | 64 .. |
//   page        9.1        2.0        5.5        7.2     last: always read
//   read         x                               x         x          budget 48: three pages
//
// max(3, budget / 16) pages are read, the last one, which is being filled, among them. The first
// two layers read every row, and so does a prompt.
//
// Cost: all rows stay in memory, and 1/16 of the keys' and values' bytes more. Reading that much
// and budget rows in place of all rows is what quest is for; here the attention kernels go over all
// rows with a mask instead, so that it reads what quest reads and takes no less time: a query head
// computes with 16 * max(3, budget / 16) rows at most. Where it fails: the bound is loose where a
// page's keys point in many directions, and nothing is saved of memory.
#pragma once

#include <algorithm>

#include "src/base/error.h"
#include "src/kv/policy.h"

namespace winnow {

class Quest : public Policy {
 public:
  static constexpr int64_t kLeastPages = 3;
  static constexpr int64_t kDenseLayers = 2;

  std::string_view name() const override { return "quest"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.recent = budget};
  }

  bool scores_rows() const override { return false; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  Paging paging(int64_t budget) const override {
    return {.n_read = std::max(kLeastPages, budget / kPageRows), .dense_layers = kDenseLayers};
  }

  void score(Device& /*device*/, const LayerScene& /*scene*/,
             const ScoreLists& /*lists*/) const override {
    fail(ExitCode::kInternal, "quest scores no rows");
  }
};

}  // namespace winnow
