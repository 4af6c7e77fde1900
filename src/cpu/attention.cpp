#include "src/cpu/attention.h"

#include <cmath>

#include "src/cpu/ops.h"

namespace winnow::cpu {

constexpr int64_t kFewQueries = 4;  // batch rows up to which each is taken alone

void attention(const ModelConfig& config, int64_t n, const float* q, const KvRows& kv, float* out,
               float* lse) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  const AttentionProblem problem{config, n, q, kv, out, lse, scale};
  if (n > kFewQueries) return attention_of_many(problem);
  for (int64_t i = 0; i < n; ++i) attention_of_one(problem, i);
}

}  // namespace winnow::cpu
