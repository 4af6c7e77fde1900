// The options of 'winnow bench'.
#pragma once

#include <string>

#include "src/cli/option_set.h"
#include "src/cli/options.h"

namespace winnow {

/// What the help begins with.
std::string bench_summary();

void add_bench_options(OptionSet& set, BenchOptions& options);

/// What concerns several options. Fails with kUsage.
void check_bench(BenchOptions& options);

}  // namespace winnow
