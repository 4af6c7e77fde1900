// winnow bench: tokens per second, prefill and decode apart.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "src/cli/interrupt.h"
#include "src/cli/output.h"
#include "src/cli/progress.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"

namespace winnow {
namespace {

using Clock = std::chrono::steady_clock;
using OrderedJson = nlohmann::ordered_json;

/// One line of the result: what was timed, and tokens per second in each repeat.
struct BenchRow {
  std::string phase;  // "prefill" or "decode"
  int64_t n_tokens = 0;
  int64_t depth = 0;          // tokens in the cache before
  std::vector<double> rates;  // sorted

  double median() const {
    const size_t half = rates.size() / 2;
    return rates.size() % 2 == 1 ? rates[half] : (rates[half - 1] + rates[half]) / 2;
  }
};

/// Any tokens do for timing; these are spread over the vocabulary and the same in every run.
std::vector<int32_t> synthetic_prompt(int64_t n, int32_t n_ids) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  uint32_t state = 1;
  for (int32_t& token : tokens) {
    state = state * 1664525U + 1013904223U;
    token = static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(n_ids));
  }
  return tokens;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Calls `run`, which returns the seconds it timed, once to warm up and then `repeats` times.
template <class Run>
BenchRow measure(BenchRow row, int32_t repeats, const Run& run) {
  run();
  for (int32_t i = 0; i < repeats; ++i) {
    check_interrupt();
    row.rates.push_back(static_cast<double>(row.n_tokens) / run());
  }
  std::ranges::sort(row.rates);
  return row;
}

class Bench {
 public:
  Bench(const Model& model, int32_t n_ids, const BenchOptions& options)
      : model_(model), n_ids_(n_ids), options_(options) {}

  BenchRow prefill(int64_t n) const {
    const std::vector<int32_t> prompt = synthetic_prompt(n, n_ids_);
    return measure({.phase = "prefill", .n_tokens = n, .rates = {}}, options_.repetitions, [&] {
      Sequence sequence(model_.network(), n, options_.compute.prefill_rows);
      const Clock::time_point start = Clock::now();
      sequence.prefill(prompt, interruptible());
      sequence.wait();
      return seconds_since(start);
    });
  }

  /// After a prompt of `depth` tokens (at least one), each drawn greedily and fed back.
  BenchRow decode(int64_t n, int64_t depth) const {
    const std::vector<int32_t> prompt = synthetic_prompt(std::max<int64_t>(depth, 1), n_ids_);
    const BenchRow row{.phase = "decode", .n_tokens = n, .depth = depth, .rates = {}};
    return measure(row, options_.repetitions, [&] {
      Sequence sequence(model_.network(), std::ssize(prompt) + n, options_.compute.prefill_rows);
      sequence.prefill(prompt, interruptible());
      sequence.wait();
      const Clock::time_point start = Clock::now();
      for (int64_t i = 0; i < n; ++i) {
        check_interrupt();
        sequence.sample(n_ids_, {});
        sequence.decode();
      }
      sequence.wait();
      return seconds_since(start);
    });
  }

 private:
  static PrefillHooks interruptible() {
    PrefillHooks hooks;
    hooks.progress = [](uint64_t, uint64_t) { check_interrupt(); };
    return hooks;
  }

  const Model& model_;
  int32_t n_ids_;
  const BenchOptions& options_;
};

/// 0 where nothing of the kind is timed.
int64_t longest(const std::vector<int64_t>& lengths) {
  return lengths.empty() ? 0 : *std::ranges::max_element(lengths);
}

OrderedJson row_json(const BenchRow& row, const Model& model) {
  OrderedJson json;
  json["bench"] = row.phase;
  json["n_tokens"] = row.n_tokens;
  json["depth"] = row.depth;
  json["value"] = row.median();
  json["unit"] = "tokens/s";
  json["min"] = row.rates.front();
  json["max"] = row.rates.back();
  json["runs"] = row.rates;
  json["device"] = model.device->name();
  return json;
}

std::string formatted(const char* format, const BenchRow& row) {
  char line[160];
  std::snprintf(line, sizeof(line), format, row.phase.c_str(), static_cast<long long>(row.n_tokens),
                static_cast<long long>(row.depth), row.median(), row.rates.front(),
                row.rates.back(), row.rates.size());
  return line;
}

std::string header(Format format) {
  switch (format) {
    case Format::kMarkdown:
      return "| phase | tokens | depth | median tokens/s | min | max | runs |\n"
             "|---|---|---|---|---|---|---|\n";
    case Format::kCsv: return "phase,tokens,depth,median_tokens_per_second,min,max,runs\n";
    case Format::kText:
      return "phase    tokens    depth  median tokens/s       min       max  runs\n";
    default: return "";
  }
}

std::string row_line(const BenchRow& row, const Model& model, Format format) {
  switch (format) {
    case Format::kMarkdown:
      return formatted("| %s | %lld | %lld | %.1f | %.1f | %.1f | %zu |\n", row);
    case Format::kCsv: return formatted("%s,%lld,%lld,%.3f,%.3f,%.3f,%zu\n", row);
    case Format::kJsonl: return row_json(row, model).dump() + "\n";
    default: return formatted("%-7s %7lld %8lld %16.1f %9.1f %9.1f %5zu\n", row);
  }
}

}  // namespace

ExitCode run_bench(const BenchOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(
      options.random_weights ? open_shape(options.shape_file) : open_network(options.model.dir),
      console);
  const int64_t longest_prompt = longest(options.prompt_tokens);
  const int64_t longest_decode = longest(options.generated_tokens);
  const int64_t context = context_size(files.config, options.compute.context, console);
  const int64_t deepest = std::max<int64_t>(longest(options.depths), 1);
  const int64_t capacity = std::max(longest_prompt, deepest + longest_decode);
  if (capacity > context) {
    fail(ExitCode::kPrompt, "-p ", longest_prompt, ", and -n ", longest_decode, " at -d ", deepest,
         ", do not fit a context of ", context, " tokens; -c raises it");
  }
  const RunShape shape{.capacity = capacity,
                       .prompt_tokens = std::max(longest_prompt, deepest),
                       .prefill_rows = options.compute.prefill_rows};
  const Model model = load_with_progress(files, options.model, options.compute, shape, console);
  const Bench bench(model, static_cast<int32_t>(files.config.vocab_size), options);
  const Format format = options.output.format;
  Output out(options.output.file);
  OrderedJson all = OrderedJson::array();
  const auto add = [&](const BenchRow& row) {
    if (format == Format::kJson) return all.push_back(row_json(row, model));
    out.write(row_line(row, model, format));
  };
  out.write(header(format));
  for (const int64_t n : options.prompt_tokens) add(bench.prefill(n));
  for (const int64_t depth : options.depths) {
    for (const int64_t n : options.generated_tokens) add(bench.decode(n, depth));
  }
  if (format == Format::kJson) out.write(all.dump(2) + "\n");
  return ExitCode::kOk;
}

}  // namespace winnow
