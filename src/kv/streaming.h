// streaming: StreamingLLM, arXiv 2309.17453. The first rows, which draw attention whatever they
// say, and the last ones; nothing between them.
//
//   B | sink: 4 | recent: B - 4 |
#pragma once

#include "src/base/error.h"
#include "src/kv/policy.h"

namespace winnow {

class Streaming : public Policy {
 public:
  static constexpr int64_t kSinks = 4;

  std::string_view name() const override { return "streaming"; }

  Shares shares(int64_t budget, int64_t /*group*/, int64_t /*lists*/) const override {
    return {.sink = kSinks, .recent = budget - kSinks};
  }

  bool scores_rows() const override { return false; }

  void score(Device& /*device*/, const LayerScene& /*scene*/,
             const ScoreLists& /*lists*/) const override {
    fail(ExitCode::kInternal, "streaming scores no rows");
  }
};

}  // namespace winnow
