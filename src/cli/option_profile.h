// The options of those who want to see what a run does: timelines, ranges for profilers, dumps.
#pragma once

#include "src/cli/option_set.h"
#include "src/cli/options.h"

namespace winnow {

/// --trace and --profile-range.
void add_profile_options(OptionSet& set, ProfileOptions& profile);

/// Which phases a run will have at all.
struct PhasesToCome {
  bool prefill = true;
  bool decode = true;
  bool compact = true;
};

/// Fails with kUsage for a range that never comes, or where no GPU may be used.
void check_profile(const ProfileOptions& profile, const ComputeOptions& compute,
                   const PhasesToCome& phases);

/// --dump and --dump-layers.
void add_dump_options(OptionSet& set, DumpOptions& dump);

/// Fails with kUsage for layers of no dump. What is looked at step by step cannot be a graph.
void check_dump(const DumpOptions& dump, ComputeOptions& compute);

}  // namespace winnow
