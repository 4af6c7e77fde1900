// One line of an evaluation's result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace winnow {

/// When the question was read: with the text, before rows were dropped, or after that, over what
/// was kept.
enum class QuestionSeen { kBefore, kAfter };

/// A share that was measured on n samples lies between these with 95 % confidence.
struct Interval {
  double low = 0;
  double high = 1;
};

/// The samples of one method with one budget: of one length and one depth, or of several together.
struct EvalRow {
  std::string task;               // "needle", or the name that a task file gives
  std::string policy;             // "sage"
  std::optional<int64_t> budget;  // rows of a KV head; none: every row
  QuestionSeen question = QuestionSeen::kBefore;
  int64_t length = 0;           // tokens of a prompt, BOS and question included
  std::optional<double> depth;  // 0 the text's start, 1 its end; none: all depths together
  int64_t n = 0;                // samples
  double accuracy = 0;          // mean score of the samples, 0..1
  Interval ci95;                // of the accuracy
  // Means over the samples, as if the method had run alone.
  double rows_kept = 0;     // over layers and KV heads, right after the prompt
  double bytes_kept = 0;    // of those rows
  double bytes_peak = 0;    // the most that the cache and the layer scratch held together
  double footprint = 0;     // see src/kv/meter.h
  double occupancy = 0;     // the same
  double ms_per_token = 0;  // of decode
};

}  // namespace winnow
