// What steps declare to move and compute, against sums that are made another way: tensors counted
// by hand, loops over what attention sees, the plan of a model's weights, and the roofline of
// Llama-3.1-8B as it is known on paper.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "src/bench/cost.h"
#include "src/bench/record.h"
#include "src/bench/score_cost.h"
#include "src/random_model.h"

namespace winnow::test {
namespace {

/// bf16 weights, fp32 rows; no two sizes alike.
CostShape small_shape() {
  CostShape shape{.config = {}, .weights = DType::kBF16, .rows = DType::kF32};
  ModelConfig& c = shape.config;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.n_layers = 3;
  c.n_heads = 4;
  c.n_kv_heads = 2;
  c.head_dim = 6;
  c.vocab_size = 50;
  return shape;
}

CostShape shipped(const std::string& name) {
  const ShapePlan shape = read_shape("tools/shapes/" + name + ".json");
  return {.config = shape.config, .weights = shape.plan.type, .rows = shape.plan.type};
}

void check(const Cost& cost, double read, double written, double flops) {
  CHECK(cost.read == read);
  CHECK(cost.written == written);
  CHECK(cost.flops == flops);
}

/// Elements of every matrix that a token multiplies with, from the plan of the weights: all but the
/// embedding, which is one of them only where it is the output matrix, too.
double multiplied_elements(const std::string& name) {
  const ShapePlan shape = read_shape("tools/shapes/" + name + ".json");
  double elements = 0;
  for (const WeightPart& part : shape.plan.parts) {
    const bool looked_up = part.name.find("embed") != std::string::npos;
    if (part.kind != PartKind::kMatrix || (looked_up && !shape.config.tied_embeddings)) continue;
    elements += static_cast<double>(part.rows * part.cols);
  }
  return elements;
}

constexpr int64_t kK = 1024;

}  // namespace

TEST_CASE("bench cost: the tensors of each step of a small network, counted one by one") {
  const CostShape shape = small_shape();  // q 24 wide, k and v 12 each
  // x [3, 16] fp32, norm [16] fp32, W [48, 16] bf16; q, k, v [3, 48] fp32
  check(qkv_cost(shape, 3), 192 + 64 + 1536, 576, 2 * 3 * 48 * 16);
  // attention [3, 24] fp32, W [16, 24] bf16, x [3, 16] fp32 to and fro
  check(attention_output_cost(shape, 3), 288 + 768 + 192, 192, 2 * 3 * 16 * 24);
  // x [3, 16], norm [16], W [48, 16] bf16; h [3, 24] fp32
  check(gate_up_cost(shape, 3), 192 + 64 + 1536, 288, 2 * 3 * 48 * 16);
  // h [3, 24], W [16, 24] bf16, x [3, 16] to and fro
  check(down_cost(shape, 3), 288 + 768 + 192, 192, 2 * 3 * 16 * 24);
  // x [1, 16], norm [16], W [50, 16] bf16; logits [1, 50] fp32
  check(logits_cost(shape, 1), 64 + 64 + 1600, 200, 2 * 50 * 16);
  // 3 rows of 16 bf16, 3 ids; x [3, 16] fp32
  check(embed_cost(shape, 3), 96 + 12, 192, 0);
  check(sample_cost(shape), 200, 0, 0);
}

TEST_CASE("bench cost: attention, looking at every row that every query head of a batch sees") {
  const CostShape shape = small_shape();
  for (const int64_t n : {1, 2, 7}) {
    for (const int64_t older : {0, 1, 5}) {
      double flops = 0;
      for (int64_t head = 0; head < 4; ++head) {
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t row = 0; row <= older + i; ++row) flops += 2 * 6 + 2 * 6;  // q k, p v
        }
      }
      const double q = static_cast<double>(n) * 24 * 4;
      double rows = 0;
      for (int64_t row = 0; row < older + n; ++row) rows += 2 * (6 + 6) * 4;  // 2 heads: k and v
      check(attention_cost(shape, n, static_cast<double>(older)), q + rows, q, flops);
    }
  }
}

TEST_CASE("bench cost: through a window, looking at every row that is in sight") {
  CostShape shape = small_shape();
  for (const int64_t window : {1, 3, 8, 50}) {
    shape.config.window = window;
    for (const int64_t n : {1, 2, 7, 20}) {
      for (const int64_t older : {0, 1, 2, 5, 30}) {
        double seen = 0;
        for (int64_t i = older; i < older + n; ++i) {
          for (int64_t row = 0; row <= i; ++row) seen += i - row < window ? 1 : 0;
        }
        double read = 0;  // by any of the batch
        for (int64_t row = 0; row < older + n; ++row) read += older - row < window ? 1 : 0;
        const double q = static_cast<double>(n) * 24 * 4;
        check(attention_cost(shape, n, static_cast<double>(older)), q + read * 2 * (6 + 6) * 4, q,
              seen * 4 * (2 * 6 + 2 * 6));
      }
    }
  }
}

TEST_CASE("bench cost: winnowing reads keys and scores once") {
  const CostShape shape = small_shape();
  // k [2 heads, 10, 6] fp32 and q [4, 6] fp32; scores [4, 10] fp32
  check(attention_scores_cost(shape, 10), 480 + 96, 160, 2 * 4 * 10 * 6);
  check(random_scores_cost(shape, 10), 2 * 10 * 8, 160, 0);
  check(combine_scores_cost(shape, 10), 160, 80, 0);
  check(top_k_cost(4, 7), 4 * 7 * 4, 0, 0);
  check(list_kept_cost(4, 7, 9), 4 * 7 * 4, 9 * 8, 0);
  // k, v of 6 fp32, position, mask; the row's number
  check(gather_rows_cost(shape, 9), 9 * (48 + 8 + 4), 9 * (48 + 8), 0);
}

TEST_CASE("bench cost: scores of windows and values, counted product by product") {
  const CostShape shape = small_shape();
  double seen = 0;  // query i of the last 3 of 10 rows sees the rows up to its own
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t row = 0; row <= 7 + i; ++row) seen += 4 * 2 * 6;  // 4 heads: q k
  }
  // k [2 heads, 10, 6] fp32 and q [3, 4, 6] fp32; scores [4, 10] fp32
  check(window_attention_cost(shape, 3, 10), 480 + 288, 160, seen);
  check(value_norms_cost(shape, ValueNorm::kValue, 10), 480, 160, 0);
  double triangle = 0;
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t j = 0; j <= i; ++j) triangle += 1;
  }
  check(value_norms_cost(shape, ValueNorm::kOutput, 10), 480 + 4 * triangle * 4, 160,
        4 * 10 * triangle * 2);
  // W_O [16, 24] bf16, the 6 columns of each of 4 heads
  check(value_norms_cost(shape, ValueNorm::kOutputL1, 10), 480 + 768, 160, 4 * 10 * 2 * 16 * 6);
  check(key_scores_cost(shape, 10), 480, 80, 0);
}

TEST_CASE("bench cost: what is expected of queries, and what is done to lists of scores") {
  const CostShape shape = small_shape();
  double products = 0;  // q q^T of one query and head, below the diagonal and on it
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t j = 0; j <= i; ++j) products += 1;
  }
  const double sums = 4 * (6 + products) * 4;  // fp32
  check(add_query_statistics_cost(shape, 5), 5 * 24 * 4 + sums, sums, 5 * 4 * products * 2);
  // k and v [2 heads, 10, 6] fp32; logits [4, 10], scores [2, 10]
  check(expected_scores_cost(shape, 10), 960, 160 + 80, 4 * 10 * (2 * products + 2 * 6));
  check(group_scores_cost(shape, 10), 160, 80, 0);
  check(change_scores_cost(4, 10), 160, 160, 0);
  check(change_scores_cost(4, 10, 2), 320, 160, 0);
  check(stored_scores_cost(shape, 10), 80, 80, 0);
  check(take_scores_cost(9), 72, 36, 0);
}

TEST_CASE("bench cost: a token and a prompt are the sums of their steps") {
  const CostShape shape = small_shape();
  const auto layer = [&](int64_t n, double older) {
    return qkv_cost(shape, n).flops + attention_cost(shape, n, older).flops +
           attention_output_cost(shape, n).flops + gate_up_cost(shape, n).flops +
           down_cost(shape, n).flops;
  };
  CHECK(token_cost(shape, 5).flops == 3 * layer(1, 5) + logits_cost(shape, 1).flops);
  CHECK(prompt_cost(shape, 9).flops == 3 * layer(9, 0) + logits_cost(shape, 1).flops);
  // Reading a prompt token by token costs the same attention as reading it at once.
  double one_by_one = 0;
  for (int64_t i = 0; i < 9; ++i) {
    one_by_one += token_cost(shape, static_cast<double>(i)).flops - logits_cost(shape, 1).flops;
  }
  CHECK(one_by_one == prompt_cost(shape, 9).flops - logits_cost(shape, 1).flops);
  // What a token reads beside weights and K/V rows is small.
  const double known = token_weight_bytes(shape) + 5 * token_kv_bytes(shape);
  CHECK(token_cost(shape, 5).read > known);
}

TEST_CASE("bench cost: weights of the shipped shapes, against the plan that loads them") {
  for (const char* name : {"llama-3.1-8b", "llama-3.2-1b", "qwen2.5-7b"}) {
    const CostShape shape = shipped(name);
    const double elements = multiplied_elements(name);
    const auto hidden = static_cast<double>(shape.config.hidden_size);
    CHECK(token_weight_bytes(shape) == 2 * (elements + hidden));
    CHECK(token_cost(shape, 0).flops ==
          2 * elements + static_cast<double>(4 * shape.config.n_layers * shape.config.q_size()));
  }
}

TEST_CASE("bench cost: the roofline of Llama-3.1-8B in bf16") {
  const CostShape shape = shipped("llama-3.1-8b");
  CHECK(token_weight_bytes(shape) == doctest::Approx(15.01e9).epsilon(1e-3));
  CHECK(token_kv_bytes(shape) == 131'072);
  const double logits = logits_cost(shape, 1).flops;
  for (const int64_t n : {8 * kK, 32 * kK, 128 * kK}) {
    const auto t = static_cast<double>(n);
    const double attention = 32 * attention_cost(shape, n, 0).flops;
    CHECK(attention == 262'144 * t * (t + 1));
    const double products = prompt_cost(shape, n).flops - attention - logits;
    CHECK(products / t == doctest::Approx(13.96e9).epsilon(1e-3));
  }
  // Milliseconds of a token at 4.3 TB/s over 2K, 8K, 32K and 128K rows.
  const std::pair<int64_t, double> floors[] = {
      {2 * kK, 3.553}, {8 * kK, 3.740}, {32 * kK, 4.489}, {128 * kK, 7.486}};
  for (const auto& [rows, ms] : floors) {
    const double read = token_cost(shape, static_cast<double>(rows)).read;
    CHECK(read / 4.3e12 * 1e3 == doctest::Approx(ms).epsilon(2e-3));
  }
}

TEST_CASE("bench record: floors and shares under ceilings that are easy to divide by") {
  const Ceilings ceilings{.read_gbps = 4000, .copy_gbps = 2000, .gemm_tflops = 100};
  CHECK(memory_floor({.read = 4e12}, ceilings) == doctest::Approx(1));
  CHECK(memory_floor({.written = 4e12}, ceilings) == doctest::Approx(1));
  CHECK(memory_floor({.read = 1e12, .written = 1e12}, ceilings) == doctest::Approx(1));
  CHECK(memory_floor({.read = 5e12, .written = 1e12}, ceilings) == doctest::Approx(2));
  CHECK(compute_floor({.flops = 5e13}, ceilings) == doctest::Approx(0.5));

  BenchRecord record{.kind = BenchKind::kDecode,
                     .name = "decode",
                     .tokens = 10,
                     .policy = "full",
                     .budget = {},
                     .seconds = {1, 2, 5},
                     .cost = {.read = 4e12, .written = 4e12, .flops = 2e14}};
  CHECK(record.value() == doctest::Approx(5));  // 10 tokens in 2 s
  CHECK(record.share(ceilings) == doctest::Approx(0.5));
  record.kind = BenchKind::kPrefill;
  CHECK(record.share(ceilings) == doctest::Approx(1));
  record.kind = BenchKind::kKernel;
  CHECK(record.value() == doctest::Approx(2e6));
  CHECK(record.share(ceilings) == doctest::Approx(2));  // 4 s of copying in 2 s: it cannot be
  CHECK(record.bound_by_memory(ceilings));
  CHECK(record.gigabytes_per_second() == doctest::Approx(4000));
  CHECK(record.teraflops() == doctest::Approx(100));
  record.kind = BenchKind::kCompact;
  record.of_seconds = 200;
  CHECK(record.value() == doctest::Approx(2000));
  CHECK(record.share(ceilings) == doctest::Approx(0.01));
  record.seconds = {1, 2};
  CHECK(record.median_seconds() == doctest::Approx(1.5));
}

}  // namespace winnow::test
