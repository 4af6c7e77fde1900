// Attention of a prompt's last queries on the CPU device: against the formula in double precision.
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>

#include "src/cpu/cpu_device.h"
#include "tests/support/score_steps.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// Spans of 512 crossed; fewer rows than queries; none.
std::vector<int32_t> held_rows(const ModelConfig& c) {
  const int32_t rows[] = {1100, 3, 0, 40};
  std::vector<int32_t> held(rows, rows + std::min<int64_t>(c.n_kv_heads, 4));
  held.resize(size_t(c.n_kv_heads), 70);
  return held;
}

TestLists run(WindowScene& scene, WindowSum how, int threads = 2) {
  const ModelConfig& c = scene.layer.config;
  TestLists lists(c.n_heads, scene.zones.view().max_rows);
  make_cpu_device(c, threads)
      ->window_attention(scene.queries.data(), scene.n, scene.rows(), scene.zones.view(), how,
                         lists.view());
  return lists;
}

void check(WindowScene& scene, WindowSum how) {
  const ModelConfig& c = scene.layer.config;
  CAPTURE(c.n_heads);
  CAPTURE(c.head_dim);
  CAPTURE(scene.n);
  CAPTURE(scene.window);
  CAPTURE(static_cast<int>(how));
  TestLists lists = run(scene, how);
  double worst = 0;
  bool ends_poisoned = true;
  for (int64_t head = 0; head < c.n_heads; ++head) {
    const std::vector<double> expected = scene.naive(head, how);
    worst = std::max(worst, worst_score(lists.list(head), expected));
    for (int64_t r = std::ssize(expected); r < lists.stride; ++r) {
      ends_poisoned = ends_poisoned && std::isnan(lists.at(head, r));
    }
  }
  CHECK(worst < 2e-5);
  CHECK(ends_poisoned);
}

}  // namespace

TEST_CASE("window attention equals the formula: masks, ragged rows, few and many queries") {
  for (const ModelConfig& c : attention_shapes()) {
    for (const int32_t n : {1, 5, 32}) {
      WindowScene scene(c, held_rows(c), n, 0, 1);
      for (const WindowSum how : kWindowSums) check(scene, how);
    }
  }
}

TEST_CASE("window attention in a sliding window: a row that all queries are past is hidden") {
  for (const int64_t window : {1, 40, 900, 100'000}) {
    const ModelConfig c = attention_shape(6, 2, 10);
    WindowScene scene(c, {300, 45}, 16, 0, 3);
    scene.window = window;
    check(scene, WindowSum::kSum);
    TestLists lists = run(scene, WindowSum::kSum);
    CHECK((lists.at(0, 0) == -INFINITY) == (window < 900 || !scene.layer.sees(0, 0)));
  }
}

TEST_CASE("rows behind those held take their part of the weights and have no score") {
  const ModelConfig c = attention_shape(4, 2, 8);
  for (const int32_t ahead : {1, 8, 50}) {
    WindowScene scene(c, {600, 20}, 8, ahead, 4);
    for (const WindowSum how : kWindowSums) check(scene, how);
    TestLists lists = run(scene, WindowSum::kMean);
    double sum = 0;
    for (int64_t r = 0; r < 20; ++r) sum += std::max(lists.at(2, r), 0.0F);
    CHECK(sum < 0.999);  // the rest of 1 is with the rows ahead
  }
}

TEST_CASE("one query's window attention is the softmax of its scores") {
  const ModelConfig c = attention_shape(4, 4, 16);
  WindowScene scene(c, {700, 1, 30, 5}, 1, 0, 5);
  TestLists window = run(scene, WindowSum::kSum), scores(4, 700), softmax(4, 700);
  const auto device = make_cpu_device(c, 2);
  device->attention_scores(scene.queries.data(), scene.rows(), scene.zones.view(), scores.view());
  device->combine_scores(scores.view(), GroupScore::kSum, scene.zones.view(), softmax.view());
  for (int64_t head = 0; head < 4; ++head) {
    const int32_t rows = scene.zones.rows[size_t(head)];
    const std::vector<double> expected(softmax.list(head), softmax.list(head) + rows);
    CHECK(worst_score(window.list(head), expected) < 1e-5);
  }
}

TEST_CASE("a NaN in a query shows in all rows that it sees, and in no other head's") {
  const ModelConfig c = attention_shape(4, 2, 8);
  WindowScene scene(c, {600, 90}, 4, 0, 6);
  scene.queries[size_t((2 * c.n_heads + 1) * c.head_dim + 3)] = NAN;  // query 2 of head 1
  TestLists lists = run(scene, WindowSum::kSum);
  for (int64_t head = 0; head < 4; ++head) {
    for (int64_t r = 0; r < scene.zones.rows[size_t(head / 2)]; ++r) {
      const bool hit = head == 1 && scene.sees(head, 2, r);
      if (hit != std::isnan(lists.at(head, r))) FAIL("head ", head, ", row ", r);
    }
  }
}

TEST_CASE("window attention is the same to the bit on one thread and on two") {
  WindowScene scene(attention_shape(8, 2, 64), {3000, 2001}, 32, 0, 7);
  const TestLists one = run(scene, WindowSum::kNorm, 1), two = run(scene, WindowSum::kNorm, 2);
  CHECK(std::memcmp(one.score.data(), two.score.data(), one.score.size() * 4) == 0);
}
