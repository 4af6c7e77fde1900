// Results added up, against rows that are worked out by hand.
#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "src/eval/tally.h"
#include "tests/support/expect_error.h"

namespace winnow::test {
namespace {

using doctest::Approx;

EvalSample needle_at(std::optional<double> depth, int64_t length = 100) {
  return {.task = "needle",
          .id = "",
          .first = std::vector<int32_t>(static_cast<size_t>(length - 10)),
          .then = std::vector<int32_t>(10),
          .length = length,
          .depth = depth};
}

EvalSample task_of(const std::string& task, int64_t first, int64_t then = 0) {
  return {.task = task,
          .id = "",
          .first = std::vector<int32_t>(static_cast<size_t>(first)),
          .then = std::vector<int32_t>(static_cast<size_t>(then))};
}

SampleResult scored(double score, int64_t budget = 0) {
  return {.prediction = "", .score = score, .budget = budget};
}

/// A row's method and depth in short: "sage 0.5", "full all".
std::vector<std::string> names(const std::vector<EvalRow>& rows) {
  std::vector<std::string> all;
  for (const EvalRow& row : rows) {
    std::string depth = row.depth ? std::to_string(*row.depth).substr(0, 3) : "all";
    all.push_back(row.policy + " " + depth);
  }
  return all;
}

using Strings = std::vector<std::string>;

TEST_CASE("tally: of each method the row of all depths, then its depths from 0 to 1") {
  Tally tally({"streaming", "full"}, QuestionSeen::kBefore);
  for (const double depth : {0.5, 1.0, 0.0, 0.5}) {
    tally.add(needle_at(depth), {scored(0, 8), scored(1)});
  }
  // The methods' order is that of the results, not of their names.
  const std::vector<EvalRow> rows = tally.rows("needle", 100);
  CHECK(names(rows) == Strings{"streaming all", "streaming 0.0", "streaming 0.5", "streaming 1.0",
                               "full all", "full 0.0", "full 0.5", "full 1.0"});
  const std::vector<int64_t> counts = {4, 1, 2, 1, 4, 1, 2, 1};
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    CHECK(rows[i].n == counts[i]);
    CHECK(rows[i].accuracy == (i < 4 ? 0 : 1));
  }
}

TEST_CASE("tally: a sample counts for its own depth and for all depths") {
  Tally tally({"sage"}, QuestionSeen::kBefore);
  tally.add(needle_at(0.0), {scored(1, 8)});
  tally.add(needle_at(0.0), {scored(0, 8)});
  tally.add(needle_at(1.0), {scored(1, 8)});
  tally.add(needle_at(1.0), {scored(0.5, 8)});
  const std::vector<EvalRow> rows = tally.rows("needle", 100);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].accuracy == Approx(2.5 / 4));
  CHECK(rows[1].accuracy == Approx(0.5));
  CHECK(rows[2].accuracy == Approx(0.75));
}

TEST_CASE("tally: every number of a row is the samples' mean") {
  Tally tally({"sage"}, QuestionSeen::kAfter);
  tally.add(needle_at(0.0), {{.prediction = "a",
                              .score = 1,
                              .budget = 30,
                              .rows_kept = 100,
                              .bytes_kept = 1000,
                              .bytes_peak = 5000,
                              .footprint = 0.5,
                              .occupancy = 0.25,
                              .decode_ms = 9,
                              .decode_passes = 3}});
  tally.add(needle_at(1.0), {{.prediction = "b",
                              .score = 0,
                              .budget = 33,
                              .rows_kept = 101,
                              .bytes_kept = 3000,
                              .bytes_peak = 6001,
                              .footprint = 0.75,
                              .occupancy = 0.5,
                              .decode_ms = 7,
                              .decode_passes = 1}});
  const std::vector<EvalRow> rows = tally.rows("needle", 100);
  REQUIRE(rows.size() == 3);
  const EvalRow& row = rows[0];
  CHECK(row.task == "needle");
  CHECK(row.policy == "sage");
  CHECK(row.question == QuestionSeen::kAfter);
  CHECK(row.length == 100);
  CHECK(row.n == 2);
  CHECK(row.budget == 32);  // 31.5
  CHECK(row.accuracy == Approx(0.5));
  CHECK(row.rows_kept == Approx(100.5));
  CHECK(row.bytes_kept == Approx(2000));
  CHECK(row.bytes_peak == Approx(5500.5));
  CHECK(row.footprint == Approx(0.625));
  CHECK(row.occupancy == Approx(0.375));
  CHECK(row.ms_per_token == Approx(4));  // 16 ms in 4 passes, not the mean of 3 and 7
  CHECK(rows[1].budget == 30);
  CHECK(rows[1].rows_kept == Approx(100));
  CHECK(rows[1].ms_per_token == Approx(3));
  CHECK(rows[2].budget == 33);
  CHECK(rows[2].bytes_peak == Approx(6001));
  CHECK(rows[2].ms_per_token == Approx(7));
}

TEST_CASE("tally: the interval is that of the row's own scores") {
  Tally tally({"sage"}, QuestionSeen::kBefore);
  for (int i = 0; i < 4; ++i) tally.add(needle_at(0.0), {scored(0, 8)});
  for (int i = 0; i < 5; ++i) tally.add(needle_at(0.5), {scored(i < 2 ? 1 : 0, 8)});
  for (const double score : {0.5, 0.5, 0.9, 1.0}) tally.add(needle_at(1.0), {scored(score, 8)});
  const std::vector<EvalRow> rows = tally.rows("needle", 100);
  REQUIRE(rows.size() == 4);
  const auto check = [](const EvalRow& row, double low, double high) {
    CHECK(row.ci95.low == Approx(low).epsilon(0.001));
    CHECK(row.ci95.high == Approx(high).epsilon(0.001));
  };
  check(rows[1], 0, 0.4899);       // Wilson's of 0 of 4
  check(rows[2], 0.1176, 0.7693);  // of 2 of 5
  check(rows[3], 0.3065, 1);       // Student's, cut off at 1
}

TEST_CASE("tally: a method that keeps every row has no budget") {
  Tally tally({"full", "sage"}, QuestionSeen::kBefore);
  tally.add(needle_at(0.5), {scored(1, 0), scored(1, 64)});
  tally.add(needle_at(0.5), {scored(1, 0), scored(1, 64)});
  const std::vector<EvalRow> rows = tally.rows("needle", 100);
  REQUIRE(rows.size() == 4);
  CHECK_FALSE(rows[0].budget.has_value());
  CHECK_FALSE(rows[1].budget.has_value());
  CHECK(rows[2].budget == 64);
  CHECK(rows[3].budget == 64);
}

TEST_CASE("tally: methods of one policy with other budgets stay apart") {
  Tally tally({"sage", "full", "sage", "sage"}, QuestionSeen::kBefore);
  tally.add(needle_at({}), {scored(0.2, 16), scored(1), scored(0.6, 128), scored(0.4, 64)});
  tally.add(needle_at({}), {scored(0.4, 16), scored(1), scored(0.8, 128), scored(0.6, 64)});
  const std::vector<EvalRow> rows = tally.rows("needle", 100);
  CHECK(names(rows) == Strings{"sage all", "full all", "sage all", "sage all"});
  const std::vector<std::optional<int64_t>> budgets = {16, {}, 128, 64};
  const std::vector<double> means = {0.3, 1, 0.7, 0.5};
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i].budget == budgets[i]);
    CHECK(rows[i].accuracy == Approx(means[i]));
    CHECK(rows[i].n == 2);
  }
}

TEST_CASE("tally: even where the budgets are the same, as two shares of a short prompt can be") {
  Tally tally({"sage", "sage"}, QuestionSeen::kBefore);
  tally.add(task_of("qa", 5), {scored(0, 16), scored(1, 16)});
  const std::vector<EvalRow> rows = tally.rows("qa", 0);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].accuracy == 0);
  CHECK(rows[1].accuracy == 1);
}

TEST_CASE("tally: a row without a length tells the mean of its samples' tokens, the later too") {
  Tally tally({"full"}, QuestionSeen::kAfter);
  tally.add(task_of("qa", 10, 3), {scored(1)});
  CHECK(tally.rows("qa", 0)[0].length == 13);
  tally.add(task_of("qa", 20, 5), {scored(1)});
  tally.add(task_of("qa", 21, 1), {scored(1)});
  CHECK(tally.rows("qa", 0)[0].length == 20);  // 60 / 3
  tally.add(task_of("qa", 22, 0), {scored(1)});
  CHECK(tally.rows("qa", 0)[0].length == 21);  // 20.5
  EvalSample sample = task_of("qa", 10);
  sample.length = 16;  // is told as it is
  tally.add(sample, {scored(1)});
  CHECK(tally.rows("qa", 16)[0].length == 16);
}

TEST_CASE("tally: samples without a depth have one row") {
  Tally tally({"full", "random"}, QuestionSeen::kBefore);
  for (int i = 0; i < 3; ++i) tally.add(task_of("qa", 10), {scored(1), scored(0, 4)});
  CHECK(names(tally.rows("qa", 0)) == Strings{"full all", "random all"});
}

TEST_CASE("tally: tasks and lengths are told apart, and only those asked for are told") {
  Tally tally({"full", "sage"}, QuestionSeen::kBefore);
  tally.add(needle_at(0.5, 100), {scored(1), scored(0.1, 4)});
  tally.add(needle_at(0.5, 200), {scored(1), scored(0.2, 4)});
  tally.add(needle_at(0.0, 200), {scored(1), scored(0.4, 4)});
  tally.add(task_of("needle", 300), {scored(1), scored(0.5, 4)});
  tally.add(task_of("needlework", 50), {scored(1), scored(0.6, 4)});
  tally.add(task_of("", 60), {scored(1), scored(0.7, 4)});
  const auto accuracy = [&](const std::string& task, int64_t length, size_t rows) {
    const std::vector<EvalRow> all = tally.rows(task, length);
    REQUIRE(all.size() == rows);
    for (const EvalRow& row : all) CHECK(row.task == task);
    return all[rows / 2].accuracy;  // of "sage", all depths together
  };
  CHECK(accuracy("needle", 100, 4) == Approx(0.1));
  CHECK(accuracy("needle", 200, 6) == Approx(0.3));
  CHECK(accuracy("needle", 0, 2) == Approx(0.5));
  CHECK(accuracy("needlework", 0, 2) == Approx(0.6));
  CHECK(accuracy("", 0, 2) == Approx(0.7));
  CHECK(tally.rows("needle", 150).empty());
  CHECK(tally.rows("needl", 0).empty());
  CHECK(tally.rows("zebra", 0).empty());
}

TEST_CASE("tally: nothing added gives no rows") {
  CHECK(Tally({"full"}, QuestionSeen::kBefore).rows("needle", 100).empty());
}

TEST_CASE("tally: a group that is half done tells the samples that it has, and goes on") {
  Tally tally({"sage"}, QuestionSeen::kBefore);
  tally.add(needle_at(0.0), {scored(1, 8)});
  tally.add(needle_at(0.5), {scored(0, 8)});
  std::vector<EvalRow> rows = tally.rows("needle", 100);
  CHECK(names(rows) == Strings{"sage all", "sage 0.0", "sage 0.5"});  // 1.0 is still to come
  CHECK(rows[0].n == 2);
  CHECK(rows[0].accuracy == Approx(0.5));
  tally.add(needle_at(1.0), {scored(1, 8)});
  rows = tally.rows("needle", 100);
  CHECK(names(rows) == Strings{"sage all", "sage 0.0", "sage 0.5", "sage 1.0"});
  CHECK(rows[0].n == 3);
  CHECK(rows[0].accuracy == Approx(2.0 / 3));
}

TEST_CASE("tally: answers that end with their first token have no time of a pass") {
  Tally tally({"full"}, QuestionSeen::kBefore);
  tally.add(task_of("qa", 5), {scored(1)});
  CHECK(tally.rows("qa", 0)[0].ms_per_token == 0);
}

TEST_CASE("tally: bytes beyond 32 bits") {
  Tally tally({"full"}, QuestionSeen::kBefore);
  SampleResult result = scored(1);
  result.rows_kept = int64_t{1} << 40;
  result.bytes_kept = uint64_t{1} << 45;
  result.bytes_peak = uint64_t{3} << 45;
  tally.add(task_of("qa", 5), {result});
  tally.add(task_of("qa", 5), {result});
  const EvalRow row = tally.rows("qa", 0)[0];
  CHECK(row.rows_kept == 0x1p40);
  CHECK(row.bytes_kept == 0x1p45);
  CHECK(row.bytes_peak == 3 * 0x1p45);
}

TEST_CASE("tally: a result too few or too many is an internal error") {
  Tally tally({"full", "sage"}, QuestionSeen::kBefore);
  expect_error(ExitCode::kInternal, {"a result for each method"},
               [&] { tally.add(task_of("qa", 5), {scored(1)}); });
  expect_error(ExitCode::kInternal, {"a result for each method"}, [&] {
    tally.add(task_of("qa", 5), {scored(1), scored(1), scored(1)});
  });
  CHECK(tally.rows("qa", 0).empty());
}

}  // namespace
}  // namespace winnow::test
