#include "src/cli/option_eval.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "src/cli/option_kv.h"
#include "src/cli/option_shared.h"
#include "src/kv/policy.h"

namespace winnow {
namespace {

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

const char* kind_name(EvalKind kind) {
  switch (kind) {
    case EvalKind::kNeedle: return "needle";
    case EvalKind::kTasks: return "tasks";
    case EvalKind::kPerplexity: return "ppl";
  }
  return "?";
}

/// An option that some kinds have no use for.
void only(OptionSet& set, const EvalOptions& options, const CLI::Option* option,
          const std::vector<EvalKind>& kinds) {
  std::vector<std::string> names;
  names.reserve(kinds.size());
  for (const EvalKind kind : kinds) names.push_back(std::string("'eval ") + kind_name(kind) + "'");
  set.allow_if(
      option, [&options, kinds] { return std::ranges::count(kinds, options.kind) > 0; },
      "is an option of " + join_words(names));
}

void add_needle_options(OptionSet& set, EvalOptions& options) {
  const auto needle = [&](const CLI::Option* option) {
    only(set, options, option, {EvalKind::kNeedle});
  };
  set.begin_group("needle");
  needle(set.add_path({"--haystack", "FILE", "the text to hide in (required)"}, options.haystack));
  needle(set.add_numbers({"--lengths", "LIST", "tokens of a prompt, like 4096,8192"},
                         options.lengths, Range<int64_t>{1, kMost}));
  needle(set.add_number({"--depths", "N", "places of the needle, from the start to the end"},
                        options.needle.depths, Range<int64_t>{1, 1000}));
  needle(set.add_number({"--needles", "N", "needles in a text, of which one is asked for"},
                        options.needle.needles, Range<int64_t>{1, 1000}));
  needle(set.add_number({"--answer-words", "N", "words of an answer"}, options.needle.answer_words,
                        Range<int64_t>{1, 100}));
  needle(set.add_path({"--words", "FILE.json", "words of keys and answers (default English ones)"},
                      options.words));
}

void add_tasks_options(OptionSet& set, EvalOptions& options) {
  set.begin_group("tasks");
  const CLI::Option* const truncate = set.add_flag(
      {"--truncate", "", "cut the middle out of prompts that do not fit (default off)"},
      [&options] { options.truncate = true; });
  only(set, options, truncate, {EvalKind::kTasks});
  const CLI::Option* const question = set.add_choice(
      {"--question", "", "whether the question is seen before rows are dropped"}, options.question,
      {{"seen", QuestionSeen::kBefore}, {"unseen", QuestionSeen::kAfter}});
  only(set, options, question, {EvalKind::kNeedle, EvalKind::kTasks});
}

void add_ppl_options(OptionSet& set, EvalOptions& options) {
  const auto ppl = [&](const CLI::Option* option) {
    only(set, options, option, {EvalKind::kPerplexity});
  };
  set.begin_group("ppl");
  ppl(set.add_path({"-f,--file", "FILE", "the text (required)"}, options.text));
  ppl(set.add_number({"--prefix", "N", "tokens that are read before rows are dropped"},
                     options.perplexity.prefix, Range<int64_t>{1, kMost}));
  ppl(set.add_number({"--score", "N", "tokens that are scored, each in a decode step"},
                     options.perplexity.score, Range<int64_t>{1, kMost}));
  ppl(set.add_number({"--stride", "N", "tokens from window to window; 0: as many as are scored"},
                     options.stride, kCounts));
}

}  // namespace

void add_eval_options(OptionSet& set, EvalOptions& options) {
  add_needle_options(set, options);
  add_tasks_options(set, options);
  add_ppl_options(set, options);
  set.begin_group("Samples");
  set.add_number({"--samples", "N", "of each length; tasks and windows at most; 0: all of them"},
                 options.samples, kCounts);
  set.add_number({"--seed", "N", "of needles and of policies that draw"}, options.seed,
                 Range<uint64_t>{0, std::numeric_limits<uint64_t>::max()});
  add_bos(set, options.bos);
  add_context(set, options.compute.context);
  add_output(set, options.output, table_formats());
  add_result(set, {"--predictions", "FILE.jsonl", "every answer, as it comes (default none)"},
             options.predictions);
  add_result(set, {"--plot", "FILE.svg", "accuracy by budget (default none)"}, options.plot);
  add_result(set, {"--plot-footprint", "FILE.svg", "accuracy by KV footprint (default none)"},
             options.plot_footprint);
  add_result(set, {"--plot-peak", "FILE.svg", "accuracy by the most bytes held (default none)"},
             options.plot_peak);
  add_result(set, {"--heat-map", "FILE.svg", "accuracy by depth and length (default none)"},
             options.heat_map);
  add_kv_lists(set, options.policies, options.budgets, "(default 128)");
  add_kv_details(set, options.kv);
  add_compute_options(set, options.compute);
}

void take_eval_words(const std::vector<std::string>& words, EvalOptions& options) {
  constexpr const char* kWays = "'winnow eval' needs one of 'needle', 'tasks FILE' and 'ppl'";
  if (words.empty()) fail(ExitCode::kUsage, kWays);
  const std::string& kind = words.front();
  if (kind == "needle") {
    options.kind = EvalKind::kNeedle;
  } else if (kind == "tasks") {
    options.kind = EvalKind::kTasks;
  } else if (kind == "ppl") {
    options.kind = EvalKind::kPerplexity;
  } else {
    fail(ExitCode::kUsage, kWays, ", not ", quoted(kind));
  }
  const size_t more = options.kind == EvalKind::kTasks ? 1 : 0;
  if (words.size() < 1 + more) fail(ExitCode::kUsage, "'winnow eval tasks' needs a FILE");
  if (words.size() > 1 + more) {
    fail(ExitCode::kUsage, "'winnow eval ", kind, "' does not take ", quoted(words[1 + more]));
  }
  if (more > 0) {
    refuse_empty("FILE of 'winnow eval tasks'", words[1]);
    options.tasks = words[1];
  }
}

void check_eval(EvalOptions& options) {
  if (options.kind == EvalKind::kNeedle && options.haystack.empty()) {
    fail(ExitCode::kUsage, "'winnow eval needle' needs a text: --haystack FILE");
  }
  if (options.kind == EvalKind::kPerplexity && options.text.empty()) {
    fail(ExitCode::kUsage, "'winnow eval ppl' needs a text: -f FILE");
  }
  if (options.kind == EvalKind::kNeedle && options.samples == 0) {
    fail(ExitCode::kUsage, "--samples 0: there is no end to needles");
  }
  if (options.kind == EvalKind::kPerplexity &&
      !(options.plot.empty() && options.plot_footprint.empty() && options.plot_peak.empty() &&
        options.heat_map.empty() && options.predictions.empty())) {
    fail(ExitCode::kUsage,
         "--plot, --heat-map and --predictions show answers, and 'winnow eval "
         "ppl' has none");
  }
  std::ranges::sort(options.lengths);
  options.lengths.erase(std::unique(options.lengths.begin(), options.lengths.end()),
                        options.lengths.end());
  eval_methods(options);
}

std::vector<KvOptions> eval_methods(const EvalOptions& options) {
  KvOptions details = options.kv;
  details.policy_options.seed = options.seed;
  std::vector<KvBudget> budgets = options.budgets;
  if (budgets.empty()) budgets = {{KvBudget::Unit::kRows, 128}};
  return cross_methods(options.policies, budgets, details);
}

}  // namespace winnow
