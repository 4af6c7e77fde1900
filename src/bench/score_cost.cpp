#include "src/bench/score_cost.h"

#include "src/bench/cost_units.h"

namespace winnow {
namespace {

/// Keys, or values, of all KV heads.
double rows_bytes(const CostShape& shape, int64_t rows) {
  return number(rows) * number(shape.config.kv_size()) * element_bytes(shape.rows);
}

double queries_bytes(const CostShape& shape, int64_t n) {
  return number(n) * number(shape.config.q_size()) * element_bytes(shape.rows);
}

/// Elements of a triangle [head_dim, head_dim] with its diagonal.
double triangle(const CostShape& shape) {
  return number(shape.config.head_dim) * number(shape.config.head_dim + 1) / 2;
}

}  // namespace

Cost window_attention_cost(const CostShape& shape, int64_t n, int64_t rows) {
  const ModelConfig& c = shape.config;
  const double seen = number(n) * number(rows) - number(n) * number(n - 1) / 2;
  return {.read = rows_bytes(shape, rows) + queries_bytes(shape, n),
          .written = number(rows) * number(c.n_heads) * kFp32Bytes,
          .flops = 2 * number(c.head_dim) * number(c.n_heads) * seen};
}

Cost value_norms_cost(const CostShape& shape, ValueNorm how, int64_t rows) {
  const ModelConfig& c = shape.config;
  const double norms = number(rows) * number(c.n_heads);
  Cost cost{.read = rows_bytes(shape, rows), .written = norms * kFp32Bytes};
  if (how == ValueNorm::kOutput) {
    cost.read += number(c.n_heads) * triangle(shape) * kFp32Bytes;
    cost.flops = 2 * norms * triangle(shape);
  }
  if (how == ValueNorm::kOutputL1) {
    const double elements = number(c.q_size()) * number(c.hidden_size);
    cost.read += elements * element_bytes(shape.weights);
    cost.flops = 2 * number(rows) * elements;
  }
  return cost;
}

Cost key_scores_cost(const CostShape& shape, int64_t rows) {
  return {.read = rows_bytes(shape, rows),
          .written = number(rows) * number(shape.config.n_kv_heads) * kFp32Bytes};
}

Cost add_query_statistics_cost(const CostShape& shape, int64_t n) {
  const ModelConfig& c = shape.config;
  const double sums = number(c.n_heads) * (number(c.head_dim) + triangle(shape));
  return {.read = queries_bytes(shape, n) + sums * kFp32Bytes,
          .written = sums * kFp32Bytes,
          .flops = 2 * number(n) * number(c.n_heads) * triangle(shape)};
}

Cost expected_scores_cost(const CostShape& shape, int64_t rows) {
  const ModelConfig& c = shape.config;
  const double form = 2 * triangle(shape) + 2 * number(c.head_dim);  // and the mean query
  return {.read = 2 * rows_bytes(shape, rows),
          .written = number(rows) * number(c.n_heads + c.n_kv_heads) * kFp32Bytes,
          .flops = number(rows) * number(c.n_heads) * form};
}

Cost group_scores_cost(const CostShape& shape, int64_t zone) {
  return {.read = number(zone) * number(shape.config.n_heads) * kFp32Bytes,
          .written = number(zone) * number(shape.config.n_kv_heads) * kFp32Bytes};
}

Cost change_scores_cost(int64_t lists, int64_t zone, int64_t from) {
  const double scores = number(lists) * number(zone) * kFp32Bytes;
  return {.read = number(from) * scores, .written = scores};
}

Cost stored_scores_cost(const CostShape& shape, int64_t rows) {
  return change_scores_cost(shape.config.n_kv_heads, rows);
}

Cost take_scores_cost(double kept) {
  return {.read = kept * (kFp32Bytes + kInt32Bytes), .written = kept * kFp32Bytes};
}

}  // namespace winnow
