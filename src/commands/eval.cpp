// winnow eval: what dropping rows costs, in answers that are lost and text that surprises.
#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "src/cli/interrupt.h"
#include "src/cli/output.h"
#include "src/cli/progress.h"
#include "src/cli/prompt.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"
#include "src/eval/budget_plot.h"
#include "src/eval/heat_map.h"
#include "src/eval/needle.h"
#include "src/eval/perplexity.h"
#include "src/eval/report.h"
#include "src/eval/runner.h"
#include "src/eval/tally.h"
#include "src/eval/task_samples.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

bool is_interrupt(const Error& error) {
  return error.code() == ExitCode::kInterrupted || error.code() == ExitCode::kTerminated;
}

std::string read_file(const std::filesystem::path& path, const Console& console) {
  return read_text({TextSource::Kind::kFile, path.string()}, {}, console);
}

/// Samples that make rows together: their task and length.
struct Group {
  std::string task;
  int64_t length = 0;
  std::vector<EvalSample> samples = {};
};

std::vector<Group> needle_groups(const EvalOptions& options, const ModelFiles& files, bool bos,
                                 const Console& console) {
  NeedleOptions needle = options.needle;
  needle.question = options.question;
  needle.seed = options.seed;
  needle.bos = bos;
  needle.depths = std::min(needle.depths, options.samples);
  const NeedleWords words =
      options.words.empty() ? default_needle_words() : read_needle_words(options.words);
  const NeedleMaker maker(*files.tokenizer, read_file(options.haystack, console), words, needle);
  std::vector<Group> groups;
  for (const int64_t length : options.lengths) {
    Group group{.task = "needle", .length = length};
    for (int64_t i = 0; i < options.samples; ++i) group.samples.push_back(maker.sample(length, i));
    groups.push_back(std::move(group));
  }
  return groups;
}

/// The tasks by name, in the order in which the file brings the names up.
std::vector<Group> task_groups(const EvalOptions& options, const ModelFiles& files, bool bos,
                               int64_t context) {
  std::vector<Task> tasks = read_task_file(options.tasks);
  if (options.samples > 0 && std::ssize(tasks) > options.samples) {
    tasks.resize(static_cast<size_t>(options.samples));
  }
  std::vector<Group> groups;
  for (const Task& task : tasks) {
    auto group = std::ranges::find(groups, task.task, &Group::task);
    if (group == groups.end()) group = groups.insert(group, {.task = task.task});
    group->samples.push_back(task_sample(task, *files.tokenizer,
                                         {.question = options.question,
                                          .bos = bos,
                                          .truncate = options.truncate,
                                          .context = context}));
  }
  return groups;
}

/// What the samples need at most.
std::vector<RunShape> widest_runs(const std::vector<Group>& groups, const ModelFiles& files,
                                  const Device& device, std::span<const KvOptions> methods) {
  std::vector<RunShape> widest;
  for (const Group& group : groups) {
    for (const EvalSample& sample : group.samples) {
      const std::vector<RunShape> shapes =
          plan_runs(files, device, methods, std::ssize(sample.first), std::ssize(sample.then),
                    sample.max_tokens);
      if (widest.empty()) widest = shapes;
      widen(widest, shapes);
    }
  }
  return widest;
}

/// Where answers and rows go while they come in.
class AnswerLog {
 public:
  AnswerLog(const EvalOptions& options, std::span<const KvOptions> methods)
      : options_(options), report_(options.output, eval_columns()) {
    for (const KvOptions& method : methods) policies_.push_back(method.policy);
    if (!options.predictions.empty()) predictions_.emplace(options.predictions);
    add_plot(options.plot, PlotBy::kBudget);
    add_plot(options.plot_footprint, PlotBy::kFootprint);
    add_plot(options.plot_peak, PlotBy::kPeak);
    if (!options.heat_map.empty()) heat_map_.emplace(options.heat_map);
  }

  const std::vector<std::string>& policies() const { return policies_; }

  void add_answers(const EvalSample& sample, const std::vector<SampleResult>& results) {
    for (size_t i = 0; predictions_ && i < results.size(); ++i) {
      OrderedJson json;
      json["task"] = sample.task;
      json["id"] = sample.id;
      json["policy"] = policies_[i];
      json["budget"] = results[i].budget > 0 ? OrderedJson(results[i].budget) : OrderedJson();
      json["question"] = question_name(options_.question);
      json["tokens"] = sample.tokens();
      json["depth"] = sample.depth ? OrderedJson(*sample.depth) : OrderedJson();
      json["answers"] = sample.answers;
      json["prediction"] = results[i].prediction;
      json["score"] = results[i].score;
      predictions_->write(json.dump() + "\n");
    }
  }

  void add_rows(const std::vector<EvalRow>& rows) {
    for (const EvalRow& row : rows) {
      report_.add(row_json(row));
      rows_.push_back(row);
    }
  }

  /// Pictures and the end of the report, of what there is.
  void finish(const std::string& title) {
    report_.finish();
    for (auto& [by, plot] : plots_) plot.write(cost_plot_svg(rows_, title, by));
    if (heat_map_) heat_map_->write(heat_map_svg(rows_, title));
  }

 private:
  void add_plot(const std::filesystem::path& file, PlotBy by) {
    if (!file.empty()) plots_.emplace_back(by, file);
  }

  const EvalOptions& options_;
  EvalReport report_;
  std::vector<std::string> policies_;
  std::optional<Output> predictions_, heat_map_;
  std::list<std::pair<PlotBy, Output>> plots_;
  std::vector<EvalRow> rows_;
};

/// Runs all samples. A signal ends it: rows that are begun are written with the samples they have,
/// and the signal is thrown on.
void run_groups(const std::vector<Group>& groups, const SampleRunner& runner, AnswerLog& log,
                const EvalOptions& options) {
  Progress progress(options.model.progress, "eval", "tokens");
  uint64_t total = 0, done = 0;
  for (const Group& group : groups) {
    for (const EvalSample& sample : group.samples) total += static_cast<uint64_t>(sample.tokens());
  }
  uint64_t draw = 0;
  for (const Group& group : groups) {
    Tally tally(log.policies(), options.question);
    const auto write_rows = [&] {
      progress.erase();
      log.add_rows(tally.rows(group.task, group.length));
    };
    try {
      for (const EvalSample& sample : group.samples) {
        const auto tokens = static_cast<uint64_t>(sample.tokens());
        const auto results = runner.run(sample, draw++, [&](uint64_t part, uint64_t whole) {
          progress.update(done + tokens * part / whole, total);
        });
        done += tokens;
        tally.add(sample, results);
        log.add_answers(sample, results);
      }
    } catch (const Error& error) {
      if (is_interrupt(error)) write_rows();
      throw;
    }
    write_rows();
  }
}

/// Runs `body`, writes the end of the result whether a signal came or not, and throws it on.
template <class Body, class Finish>
void finish_in_any_case(const Body& body, const Finish& finish) {
  try {
    body();
  } catch (const Error& error) {
    if (is_interrupt(error)) finish();
    throw;
  }
  finish();
}

int64_t longest(const std::vector<RunShape>& shapes) {
  return std::ranges::max(shapes, {}, &RunShape::capacity).capacity;
}

void check_context(const std::vector<RunShape>& shapes, int64_t context) {
  if (longest(shapes) <= context) return;
  fail(ExitCode::kPrompt, "prompts and answers of ", longest(shapes),
       " tokens do not fit a context of ", context, "; -c raises it");
}

/// 'needle' and 'tasks'.
void run_questions(const EvalOptions& options, const ModelFiles& files,
                   std::unique_ptr<Device> device, int64_t context, bool bos,
                   const Console& console) {
  const std::vector<KvOptions> methods = eval_methods(options);
  const bool needle = options.kind == EvalKind::kNeedle;
  const std::vector<Group> groups = needle ? needle_groups(options, files, bos, console)
                                           : task_groups(options, files, bos, context);
  std::vector<RunShape> shapes = widest_runs(groups, files, *device, methods);
  for (RunShape& shape : shapes) shape.prefill_rows = options.compute.prefill_rows;
  check_context(shapes, context);
  AnswerLog log(options, methods);
  const Model model = load_with_progress(files, std::move(device), options.model, shapes, console);
  const SampleRunner runner(files, model, methods, options.compute.prefill_rows);
  finish_in_any_case(
      [&] { run_groups(groups, runner, log, options); },
      [&] {
        const auto& from = needle ? options.haystack : options.tasks;
        log.finish((needle ? "Needles in " : "Tasks of ") + from.filename().string());
      });
}

/// First tokens of the windows of a text.
std::vector<int64_t> window_starts(const EvalOptions& options, int64_t n_text, int64_t n_window) {
  if (n_text < n_window) {
    fail(ExitCode::kPrompt, options.text.string(), " has ", n_text,
         " tokens, and --prefix and --score take ", n_window);
  }
  const int64_t stride = options.stride > 0 ? options.stride : options.perplexity.score;
  std::vector<int64_t> starts;
  for (int64_t at = 0; at + n_window <= n_text; at += stride) {
    if (options.samples > 0 && std::ssize(starts) == options.samples) break;
    starts.push_back(at);
  }
  return starts;
}

void run_perplexity(const EvalOptions& options, const ModelFiles& files,
                    std::unique_ptr<Device> device, int64_t context, bool bos,
                    const Console& console) {
  PerplexityOptions settings = options.perplexity;
  settings.bos = bos;
  const std::vector<int32_t> text = files.tokenizer->encode(read_file(options.text, console));
  const int64_t n_window = Perplexity::window_tokens(settings);
  const std::vector<int64_t> starts = window_starts(options, std::ssize(text), n_window);
  const std::vector<KvOptions> methods = eval_methods(options);
  std::vector<RunShape> shapes =
      plan_runs(files, *device, Perplexity::with_full(methods), settings.prefix, 0, settings.score);
  for (RunShape& shape : shapes) shape.prefill_rows = options.compute.prefill_rows;
  check_context(shapes, context);
  EvalReport report(options.output, perplexity_columns());
  const Model model = load_with_progress(files, std::move(device), options.model, shapes, console);
  Perplexity perplexity(files, model, methods, settings, options.compute.prefill_rows);
  Progress progress(options.model.progress, "eval", "windows");
  const auto body = [&] {
    for (size_t i = 0; i < starts.size(); ++i) {
      progress.update(i, starts.size());
      const auto window =
          std::span(text).subspan(static_cast<size_t>(starts[i]), static_cast<size_t>(n_window));
      perplexity.run_window(window, i, [](uint64_t, uint64_t) {});
    }
    progress.update(starts.size(), starts.size());
  };
  finish_in_any_case(body, [&] {
    progress.erase();
    for (const PerplexityRow& row : perplexity.rows()) report.add(row_json(row));
    report.finish();
  });
}

}  // namespace

ExitCode run_eval(const EvalOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(open_model(options.model.dir), console);
  const int64_t context = context_size(files.config, options.compute.context, console);
  std::vector<int32_t> before;
  prepend_bos(*files.tokenizer, options.bos, before);
  const bool bos = !before.empty();
  auto device = open_device(files, options.compute, console);
  const bool ppl = options.kind == EvalKind::kPerplexity;
  const auto run = ppl ? run_perplexity : run_questions;
  run(options, files, std::move(device), context, bos, console);
  return ExitCode::kOk;
}

}  // namespace winnow
