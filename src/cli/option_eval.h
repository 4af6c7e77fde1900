// The options of 'winnow eval', and the words that say what is evaluated.
#pragma once

#include <string>
#include <vector>

#include "src/cli/option_set.h"
#include "src/cli/options.h"

namespace winnow {

constexpr const char* kEvalSummary =
    "Measures what dropping rows costs: all methods and budgets from one reading of each prompt.\n"
    "  winnow eval -m DIR needle --haystack FILE    recalls a secret out of a long text\n"
    "  winnow eval -m DIR tasks FILE.jsonl          answers questions of a benchmark\n"
    "  winnow eval -m DIR ppl -f FILE               foretells the rest of a text";

void add_eval_options(OptionSet& set, EvalOptions& options);

/// "needle", "tasks FILE" or "ppl". Fails with kUsage.
void take_eval_words(const std::vector<std::string>& words, EvalOptions& options);

/// What concerns several options. Fails with kUsage.
void check_eval(EvalOptions& options);

}  // namespace winnow
