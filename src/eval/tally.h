// Results added up: a row for each method and length, and one for each depth of it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "src/eval/row.h"
#include "src/eval/sample.h"

namespace winnow {

class Tally {
 public:
  /// `policies`: the methods' names, in the order of the results.
  Tally(std::vector<std::string> policies, QuestionSeen question)
      : policies_(std::move(policies)), question_(question) {}

  /// results [policies]: of one sample.
  void add(const EvalSample& sample, const std::vector<SampleResult>& results);

  /// Of each method in its order: the row of all depths, then one for each depth where samples have
  /// one. Methods that kept every row share none; a method is listed once for each position in
  /// `policies`. A row without a length of its own tells its samples' mean.
  std::vector<EvalRow> rows(const std::string& task, int64_t length) const;

 private:
  struct Key {
    std::string task;
    int64_t length = 0;
    size_t method = 0;
    std::optional<double> depth;
    auto operator<=>(const Key&) const = default;
  };
  struct Sum {
    std::vector<double> scores;
    double budget = 0, tokens = 0, rows_kept = 0, bytes_kept = 0, bytes_peak = 0, footprint = 0;
    double occupancy = 0, decode_ms = 0;
    int64_t decode_passes = 0;
  };

  void add_to(const Key& key, const EvalSample& sample, const SampleResult& result);
  EvalRow row(const Key& key, const Sum& sum) const;

  std::vector<std::string> policies_;
  QuestionSeen question_;
  std::map<Key, Sum> sums_;
};

}  // namespace winnow
