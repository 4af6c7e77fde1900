// One question that a model is asked, and what came of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/eval/metrics.h"

namespace winnow {

struct EvalSample {
  std::string task;
  std::string id;
  std::vector<int32_t> first = {};  // tokens that are read before rows are dropped
  std::vector<int32_t> then = {};   // tokens that are read after that; may be empty
  int64_t length = 0;               // what the samples of a row have in common; 0: only the task
  std::optional<double> depth = {};
  std::vector<std::string> answers = {};
  Metric metric = Metric::kContains;
  int64_t max_tokens = 0;
  std::vector<std::string> stop = {};

  int64_t tokens() const { return static_cast<int64_t>(first.size() + then.size()); }
};

/// What one method made of a sample.
struct SampleResult {
  std::string prediction;
  double score = 0;
  int64_t budget = 0;  // rows of a KV head; 0: every row
  int64_t rows_kept = 0;
  uint64_t bytes_kept = 0;
  uint64_t bytes_peak = 0;
  double footprint = 0;
  double occupancy = 0;
  double decode_ms = 0;
  int64_t decode_passes = 0;
};

}  // namespace winnow
