#include "src/bench/cost.h"

#include <algorithm>
#include <cmath>

#include "src/bench/cost_units.h"

namespace winnow {
namespace {

/// y = x W^T without what is read of x and written of y.  W [outputs, inputs]
Cost product(const CostShape& shape, int64_t n, int64_t outputs, int64_t inputs) {
  const double elements = number(outputs) * number(inputs);
  return {.read = elements * element_bytes(shape.weights), .flops = 2 * number(n) * elements};
}

/// A norm's input rows and its weight.
Cost norm(const CostShape& shape, int64_t n) {
  return {.read = number(n + 1) * number(shape.config.hidden_size) * kFp32Bytes};
}

/// x += y
Cost residual(const CostShape& shape, int64_t n) {
  const double x = number(n) * number(shape.config.hidden_size) * kFp32Bytes;
  return {.read = x, .written = x};
}

double key_bytes(const CostShape& shape) {
  return number(shape.config.head_dim) * element_bytes(shape.rows);
}

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  read += other.read;
  written += other.written;
  flops += other.flops;
  return *this;
}

Cost embed_cost(const CostShape& shape, int64_t n) {
  const double elements = number(n) * number(shape.config.hidden_size);
  return {.read = elements * element_bytes(shape.weights) + number(n) * kInt32Bytes,
          .written = elements * kFp32Bytes};
}

Cost qkv_cost(const CostShape& shape, int64_t n) {
  const ModelConfig& c = shape.config;
  const Cost made{.written = number(n) * number(c.qkv_size()) * element_bytes(shape.rows)};
  return norm(shape, n) + product(shape, n, c.qkv_size(), c.hidden_size) + made;
}

Cost attention_cost(const CostShape& shape, int64_t n, double older) {
  const ModelConfig& c = shape.config;
  const double q = number(n) * number(c.q_size()) * element_bytes(shape.rows);
  const double all = older + number(n);
  const double window = c.window > 0 ? number(c.window) : all;
  const double rows = std::min(all, window + number(n - 1));  // that any of the batch sees
  // The first `growing` batch rows see all that is before them, the others a whole window.
  const double growing = std::clamp(std::floor(window - older), 0.0, number(n));
  const double seen =
      growing * older + growing * (growing + 1) / 2 + (number(n) - growing) * window;
  return {.read = q + 2 * rows * number(c.n_kv_heads) * key_bytes(shape),
          .written = q,
          .flops = 4 * number(c.head_dim) * number(c.n_heads) * seen};
}

Cost attention_output_cost(const CostShape& shape, int64_t n) {
  const ModelConfig& c = shape.config;
  const Cost input{.read = number(n) * number(c.q_size()) * element_bytes(shape.rows)};
  return input + product(shape, n, c.hidden_size, c.q_size()) + residual(shape, n);
}

Cost gate_up_cost(const CostShape& shape, int64_t n) {
  const ModelConfig& c = shape.config;
  const Cost h{.written = number(n) * number(c.intermediate_size) * element_bytes(shape.rows)};
  return norm(shape, n) + product(shape, n, 2 * c.intermediate_size, c.hidden_size) + h;
}

Cost down_cost(const CostShape& shape, int64_t n) {
  const ModelConfig& c = shape.config;
  const Cost h{.read = number(n) * number(c.intermediate_size) * element_bytes(shape.rows)};
  return h + product(shape, n, c.hidden_size, c.intermediate_size) + residual(shape, n);
}

Cost logits_cost(const CostShape& shape, int64_t n) {
  const ModelConfig& c = shape.config;
  const Cost made{.written = number(n) * number(c.vocab_size) * kFp32Bytes};
  return norm(shape, n) + product(shape, n, c.vocab_size, c.hidden_size) + made;
}

Cost sample_cost(const CostShape& shape) {
  return {.read = number(shape.config.vocab_size) * kFp32Bytes};
}

Cost attention_scores_cost(const CostShape& shape, int64_t rows) {
  const ModelConfig& c = shape.config;
  const double keys = number(rows) * number(c.n_kv_heads) * key_bytes(shape);
  const double scores = number(rows) * number(c.n_heads);
  return {.read = keys + number(c.n_heads) * key_bytes(shape),
          .written = scores * kFp32Bytes,
          .flops = 2 * number(c.head_dim) * scores};
}

Cost random_scores_cost(const CostShape& shape, int64_t rows) {
  const ModelConfig& c = shape.config;
  return {.read = number(rows) * number(c.n_kv_heads) * 2 * kInt32Bytes,  // positions and masks
          .written = number(rows) * number(c.n_heads) * kFp32Bytes};
}

Cost combine_scores_cost(const CostShape& shape, int64_t rows) {
  const ModelConfig& c = shape.config;
  return {.read = number(rows) * number(c.n_heads) * kFp32Bytes,
          .written = number(rows) * number(c.n_kv_heads) * kFp32Bytes};
}

Cost top_k_cost(int64_t lists, int64_t zone) {
  return {.read = number(lists) * number(zone) * kFp32Bytes};
}

Cost list_kept_cost(int64_t lists, int64_t zone, double kept) {
  return {.read = number(lists) * number(zone) * kFp32Bytes, .written = kept * 2 * kInt32Bytes};
}

/// A row is its key, value, position and mask; its number and its new mask are read, too.
Cost gather_rows_cost(const CostShape& shape, double kept) {
  const double row = 2 * key_bytes(shape) + 2 * kInt32Bytes;
  return {.read = kept * (row + kInt32Bytes), .written = kept * row};
}

Cost token_cost(const CostShape& shape, double older) {
  const Cost layer = qkv_cost(shape, 1) + attention_cost(shape, 1, older) +
                     attention_output_cost(shape, 1) + gate_up_cost(shape, 1) + down_cost(shape, 1);
  return embed_cost(shape, 1) + number(shape.config.n_layers) * layer + logits_cost(shape, 1) +
         sample_cost(shape);
}

Cost prompt_cost(const CostShape& shape, int64_t n) {
  const Cost layer = qkv_cost(shape, n) + attention_cost(shape, n, 0) +
                     attention_output_cost(shape, n) + gate_up_cost(shape, n) + down_cost(shape, n);
  return embed_cost(shape, n) + number(shape.config.n_layers) * layer + logits_cost(shape, 1);
}

double token_weight_bytes(const CostShape& shape) {
  const ModelConfig& c = shape.config;
  const double layer =
      number(c.hidden_size) * number(c.qkv_size() + c.q_size() + 3 * c.intermediate_size);
  const double rest = number(c.hidden_size) * number(c.vocab_size + 1);
  return (number(c.n_layers) * layer + rest) * element_bytes(shape.weights);
}

double token_kv_bytes(const CostShape& shape) {
  return 2 * number(shape.config.n_layers) * number(shape.config.n_kv_heads) * key_bytes(shape);
}

}  // namespace winnow
