// What the scores of eviction methods must move and compute at least, counted as in cost.h.
//
// Of one layer whose KV heads hold `rows` rows each. Lists are those that the step leaves: n_heads
// or n_kv_heads of them.
#pragma once

#include "src/bench/cost.h"
#include "src/kv/rows.h"

namespace winnow {

/// The last n queries look at keys once: each sees its own row and those before it.
Cost window_attention_cost(const CostShape& shape, int64_t n, int64_t rows);

/// kOutput multiplies with a triangle [head_dim, head_dim], kOutputL1 with W_O itself.
Cost value_norms_cost(const CostShape& shape, ValueNorm how, int64_t rows);

/// key_norms and key_differences: every key once.
Cost key_scores_cost(const CostShape& shape, int64_t rows);

/// Sums of n queries and of their products: a symmetric matrix for each query head.
Cost add_query_statistics_cost(const CostShape& shape, int64_t n);

/// Every key in a quadratic form for each query head, as the length of a product with a triangle.
Cost expected_scores_cost(const CostShape& shape, int64_t rows);

/// group_scores: a group's lists become one.
Cost group_scores_cost(const CostShape& shape, int64_t zone);

/// Every score of `lists` lists of `zone` is read from `from` places and written to one.
Cost change_scores_cost(int64_t lists, int64_t zone, int64_t from = 1);

/// stored_scores: a number of every row.
Cost stored_scores_cost(const CostShape& shape, int64_t rows);

/// `kept` scores over all lists, found by the rows' numbers.
Cost take_scores_cost(double kept);

}  // namespace winnow
