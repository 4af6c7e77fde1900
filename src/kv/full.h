// full: every row is kept.
//
//   softmax(q k_j / sqrt(head_dim)) over all rows j <= i, as attention is defined in arXiv
//   1706.03762
#pragma once

#include "src/base/error.h"
#include "src/kv/policy.h"

namespace winnow {

class Full : public Policy {
 public:
  std::string_view name() const override { return "full"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.recent = budget};
  }

  bool scores_rows() const override { return false; }
  DecodeRule decode_rule() const override { return DecodeRule::kAppend; }

  void score(Device& /*device*/, const LayerScene& /*scene*/,
             const ScoreLists& /*lists*/) const override {
    fail(ExitCode::kInternal, "full scores no rows");
  }
};

}  // namespace winnow
