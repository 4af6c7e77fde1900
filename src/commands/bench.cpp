// winnow bench: tokens per second, prefill and decode apart.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/cli/interrupt.h"
#include "src/cli/output.h"
#include "src/cli/progress.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"
#include "src/token_queue.h"

namespace winnow {
namespace {

using Clock = std::chrono::steady_clock;
using OrderedJson = nlohmann::ordered_json;

/// One line of the result: what was timed, and tokens per second in each repeat.
struct BenchRow {
  std::string phase;  // "prefill", "compact" or "decode"
  int64_t n_tokens = 0;
  int64_t depth = 0;              // tokens in the cache before
  std::optional<int64_t> budget;  // rows of a KV head that are kept at most
  std::vector<double> rates;      // tokens per second, for "compact" milliseconds; sorted

  const char* unit() const { return phase == "compact" ? "ms" : "tokens/s"; }
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

/// What is kept of a prompt of `n_prompt` tokens. One token is kept, whatever share is asked for.
KvSettings bench_settings(const BenchOptions& options, const ModelFiles& files,
                          const Device& device, int64_t n_prompt) {
  if (n_prompt == 1) return {};
  return resolve_kv(options.kv, files.config, device.compute_type(), n_prompt);
}

class Bench {
 public:
  Bench(const ModelFiles& files, const Model& model, const BenchOptions& options)
      : files_(files),
        model_(model),
        n_ids_(static_cast<int32_t>(files.config.vocab_size)),
        options_(options) {}

  /// Reading a prompt of `n` tokens; where rows are dropped, also how long that took of it.
  std::vector<BenchRow> prefill(int64_t n) const {
    const std::vector<int32_t> prompt = synthetic_prompt(n, n_ids_);
    std::vector<double> compact_ms;
    const BenchRow row{.phase = "prefill", .n_tokens = n, .budget = budget(n), .rates = {}};
    std::vector<BenchRow> rows = {measure(row, options_.repetitions, [&] {
      Sequence sequence(model_.network(), sequence_options(n, n));
      const Clock::time_point start = Clock::now();
      sequence.prefill(prompt, interruptible());
      sequence.wait();
      compact_ms.push_back(sequence.compact_ms());
      return seconds_since(start);
    })};
    compact_ms.erase(compact_ms.begin());  // of the warm-up
    add_compact(n, std::move(compact_ms), rows);
    return rows;
  }

  /// After a prompt of `depth` tokens (at least one), each drawn greedily and fed back. A full
  /// cache grows while it is timed, so each repeat reads its own prompt; a winnowed one does not,
  /// and how long it took to winnow it is a row of its own.
  std::vector<BenchRow> decode(int64_t n, int64_t depth) const {
    const std::vector<int32_t> prompt = synthetic_prompt(std::max<int64_t>(depth, 1), n_ids_);
    const BenchRow row{.phase = "decode",
                       .n_tokens = n,
                       .depth = depth,
                       .budget = budget(std::ssize(prompt)),
                       .rates = {}};
    const int64_t n_prompt = std::ssize(prompt);
    const bool one_prompt = settings(n_prompt).exceeds(n_prompt);
    const int64_t tokens = one_prompt ? n * (options_.repetitions + 1) : n;
    std::optional<Sequence> sequence;
    std::vector<BenchRow> rows = {measure(row, options_.repetitions, [&] {
      if (!sequence || !one_prompt) {
        sequence.reset();
        sequence.emplace(model_.network(), sequence_options(n_prompt, n_prompt + tokens));
        sequence->prefill(prompt, interruptible());
        sequence->wait();
      }
      return decode_seconds(*sequence, n);
    })};
    add_compact(n_prompt, {sequence->compact_ms()}, rows);
    return rows;
  }

  /// Tokens that a decode test needs room for beside its prompt.
  static int64_t decoded_tokens(int64_t n, const BenchOptions& options) {
    return options.kv.budget ? n * (options.repetitions + 1) : n;
  }

 private:
  static void add_compact(int64_t n, std::vector<double> ms, std::vector<BenchRow>& rows) {
    std::ranges::sort(ms);
    if (ms.front() > 0)
      rows.push_back({.phase = "compact",
                      .n_tokens = n,
                      .budget = rows.front().budget,
                      .rates = std::move(ms)});
  }

  double decode_seconds(Sequence& sequence, int64_t n) const {
    const Clock::time_point start = Clock::now();
    TokenQueue queue(sequence, n_ids_, {}, {}, sequence.steps_ahead());
    for (int64_t i = 0; i < n; ++i) {
      check_interrupt();
      queue.next(n);
    }
    return seconds_since(start);
  }

  std::optional<int64_t> budget(int64_t n_prompt) const {
    const int64_t rows = settings(n_prompt).budget;
    return rows == KvSettings::kNoBudget ? std::nullopt : std::optional(rows);
  }

  KvSettings settings(int64_t n_prompt) const {
    return bench_settings(options_, files_, *model_.device, n_prompt);
  }

  SequenceOptions sequence_options(int64_t n_prompt, int64_t capacity) const {
    return {.capacity = capacity,
            .prefill_rows = options_.compute.prefill_rows,
            .kv = settings(n_prompt)};
  }

  static PrefillHooks interruptible() {
    PrefillHooks hooks;
    hooks.progress = [](uint64_t, uint64_t) { check_interrupt(); };
    return hooks;
  }

  const ModelFiles& files_;
  const Model& model_;
  int32_t n_ids_;
  const BenchOptions& options_;
};

/// The most that any of the tests needs: each is a text of its own.
RunShape widest_shape(const BenchOptions& options, const ModelFiles& files, const Device& device) {
  RunShape shape{.prefill_rows = options.compute.prefill_rows};
  const auto widen = [&](int64_t n_prompt, int64_t capacity) {
    const KvSettings kv = bench_settings(options, files, device, n_prompt);
    const KvPlan plan = plan_kv(kv, {&n_prompt, 1}, capacity);
    const bool first = shape.capacity == 0;
    shape.prompt_tokens = std::max(shape.prompt_tokens, n_prompt);
    shape.capacity = std::max(shape.capacity, capacity);
    shape.kv_plan.room = std::max(shape.kv_plan.room, plan.room);
    shape.kv_plan.twice = shape.kv_plan.twice || plan.twice;
    shape.kv_plan.layer_rows = std::max(shape.kv_plan.layer_rows, plan.layer_rows);
    const int64_t budget = first ? kv.budget : std::max(kv.budget, shape.kv.budget);
    shape.kv = kv;
    shape.kv.fill = options.kv.fill;
    shape.kv.places_in_cache = options.kv.places_in_cache;
    shape.kv.budget = budget;
  };
  for (const int64_t n : options.prompt_tokens) widen(n, n);
  for (const int64_t depth : options.depths) {
    const int64_t n_prompt = std::max<int64_t>(depth, 1);
    for (const int64_t n : options.generated_tokens) {
      widen(n_prompt, n_prompt + Bench::decoded_tokens(n, options));
    }
  }
  return shape;
}

/// 0 where nothing of the kind is timed.
int64_t longest(const std::vector<int64_t>& lengths) {
  return lengths.empty() ? 0 : *std::ranges::max_element(lengths);
}

OrderedJson row_json(const BenchRow& row, const Model& model, const BenchOptions& options) {
  OrderedJson json;
  json["bench"] = row.phase;
  json["n_tokens"] = row.n_tokens;
  json["depth"] = row.depth;
  json["value"] = row.median();
  json["unit"] = row.unit();
  json["min"] = row.rates.front();
  json["max"] = row.rates.back();
  json["runs"] = row.rates;
  json["kv_policy"] = options.kv.policy;
  json["kv_budget"] = row.budget ? OrderedJson(*row.budget) : OrderedJson(nullptr);
  json["arena_high_water"] = model.device->arena().high_water();
  json["device"] = model.device->name();
  return json;
}

std::string formatted(const char* format, const BenchRow& row) {
  char line[160];
  std::snprintf(line, sizeof(line), format, row.phase.c_str(), static_cast<long long>(row.n_tokens),
                static_cast<long long>(row.depth), row.median(), row.unit(), row.rates.front(),
                row.rates.back(), row.rates.size());
  return line;
}

std::string header(Format format) {
  switch (format) {
    case Format::kMarkdown:
      return "| phase | tokens | depth | median | unit | min | max | runs |\n"
             "|---|---|---|---|---|---|---|---|\n";
    case Format::kCsv: return "phase,tokens,depth,median,unit,min,max,runs\n";
    case Format::kText:
      return "phase    tokens    depth    median  unit           min       max  runs\n";
    default: return "";
  }
}

std::string row_line(const BenchRow& row, const Model& model, const BenchOptions& options) {
  switch (options.output.format) {
    case Format::kMarkdown:
      return formatted("| %s | %lld | %lld | %.1f | %s | %.1f | %.1f | %zu |\n", row);
    case Format::kCsv: return formatted("%s,%lld,%lld,%.3f,%s,%.3f,%.3f,%zu\n", row);
    case Format::kJsonl: return row_json(row, model, options).dump() + "\n";
    default: return formatted("%-7s %7lld %8lld %9.1f  %-8s %9.1f %9.1f %5zu\n", row);
  }
}

}  // namespace

ExitCode run_bench(const BenchOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(
      options.random_weights ? open_shape(options.shape_file) : open_network(options.model.dir),
      console);
  const int64_t context = context_size(files.config, options.compute.context, console);
  auto device = open_device(files, options.compute, console);
  const RunShape shape = widest_shape(options, files, *device);
  if (shape.capacity > context) {
    fail(ExitCode::kPrompt, "-p ", longest(options.prompt_tokens), ", and -n ",
         longest(options.generated_tokens), " at -d ", longest(options.depths),
         ", do not fit a context of ", context, " tokens; -c raises it");
  }
  const Model model = load_with_progress(files, std::move(device), options.model, shape, console);
  const Bench bench(files, model, options);
  const Format format = options.output.format;
  Output out(options.output.file);
  OrderedJson all = OrderedJson::array();
  const auto add = [&](const BenchRow& row) {
    if (format == Format::kJson) return all.push_back(row_json(row, model, options));
    out.write(row_line(row, model, options));
  };
  out.write(header(format));
  for (const int64_t n : options.prompt_tokens) {
    for (const BenchRow& row : bench.prefill(n)) add(row);
  }
  for (const int64_t depth : options.depths) {
    for (const int64_t n : options.generated_tokens) {
      for (const BenchRow& row : bench.decode(n, depth)) add(row);
    }
  }
  if (format == Format::kJson) out.write(all.dump(2) + "\n");
  return ExitCode::kOk;
}

}  // namespace winnow
