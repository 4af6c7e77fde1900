#include "src/cli/option_profile.h"

#include <cstdint>
#include <limits>
#include <string>

#include "src/cli/option_shared.h"

namespace winnow {

void add_profile_options(OptionSet& set, ProfileOptions& profile) {
  set.begin_group("Profile");
  add_result(set, {"--trace", "FILE.json", "a timeline for https://ui.perfetto.dev (default none)"},
             profile.trace);
  const Choices<std::optional<Phase>> phases = {
      {"prefill", Phase::kPrefill}, {"decode", Phase::kDecode}, {"compact", Phase::kCompact}};
  set.add_choice({"--profile-range", "", "the phase that ncu and nsys look at (default none)"},
                 profile.range, phases);
}

void check_profile(const ProfileOptions& profile, const ComputeOptions& compute,
                   const PhasesToCome& phases) {
  if (!profile.range) return;
  if (compute.device == DeviceChoice::kCpu) {
    fail(ExitCode::kUsage, "--profile-range is for profilers of a GPU, not for --device cpu");
  }
  const Phase phase = *profile.range;
  const bool comes = phase == Phase::kPrefill  ? phases.prefill
                     : phase == Phase::kDecode ? phases.decode
                                               : phases.compact;
  if (comes) return;
  fail(ExitCode::kUsage, "--profile-range ", phase_name(phase), ": ",
       phase == Phase::kCompact ? "no rows are dropped" : "there is none in this run");
}

void add_dump_options(OptionSet& set, DumpOptions& dump) {
  set.begin_group("Look inside");
  set.add_path({"--dump", "DIR", "what each step leaves, as .npy files (default none)"}, dump.dir);
  set.add_numbers({"--dump-layers", "LIST", "of these layers only, like 0,5 (default all)"},
                  dump.layers, Range<int32_t>{0, std::numeric_limits<int32_t>::max()});
}

void check_dump(const DumpOptions& dump, ComputeOptions& compute) {
  if (!dump.layers.empty() && dump.dir.empty()) {
    fail(ExitCode::kUsage, "--dump-layers needs --dump DIR");
  }
  if (!dump.dir.empty()) compute.graph = false;
}

}  // namespace winnow
