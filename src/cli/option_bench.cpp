#include "src/cli/option_bench.h"

#include <algorithm>
#include <string>
#include <vector>

#include "src/bench/kernel_names.h"
#include "src/cli/option_kv.h"
#include "src/cli/option_profile.h"
#include "src/cli/option_shared.h"

namespace winnow {
namespace {

std::vector<std::string> known_kernels() {
  std::vector<std::string> names;
  names.reserve(kKernelNames.size());
  for (const KernelName& kernel : kKernelNames) names.emplace_back(kernel.name);
  return names;
}

std::vector<std::string> read_kernels(const std::string& name, const std::string& value) {
  std::vector<std::string> known = known_kernels();
  if (value == "all") return known;
  std::vector<std::string> kernels = split_at_commas(value);
  for (const std::string& kernel : kernels) {
    if (std::ranges::count(known, kernel) == 1) continue;
    fail(ExitCode::kUsage, name, " must be all, or a list of ", join_words(known), ", not ",
         quoted(kernel));
  }
  return kernels;
}

/// The kernels' names in lines of at most `width` characters, each behind `indent`.
std::string kernel_lines(size_t width, const std::string& indent) {
  std::string text, line;
  for (const std::string& name : known_kernels()) {
    if (!line.empty() && indent.size() + line.size() + name.size() + 2 > width) {
      text.append(line).append(",\n").append(indent);
      line.clear();
    }
    line += (line.empty() ? "" : ", ") + name;
  }
  return text + line;
}

}  // namespace

std::string bench_summary() {
  return "Measures prefill and decode, each by itself, what ran in them with --kernels, or single "
         "steps\n"
         "with --kernel, beside what the machine's memory and cores reach in the same run.\n"
         "  prefill   reads a prompt of -p tokens; compact is the part of it that dropped rows\n"
         "  decode    draws -n tokens over a cache of -d: as many K/V rows as the policy and its "
         "budget\n"
         "            keep of a prompt of -d tokens, filled with random numbers and never read as "
         "text\n"
         "  kernels   --kernels: where the time of both goes, kernel by kernel and step by step\n"
         "  steps     --kernel: " +
         kernel_lines(86, "            ") +
         "\n"
         "  share     prefill: FLOPs, of the matrix product's; decode: bytes that must be read, of "
         "a\n"
         "            read-only stream's; others: the greater of the two; compact: of the prefill";
}

void add_bench_options(OptionSet& set, BenchOptions& options) {
  set.begin_group("Measurements");
  set.add_numbers({"-p,--n-prompt", "LIST", "tokens to prefill, like 512,2048; 0: no such test"},
                  options.prompt_tokens, kCounts);
  set.add_numbers({"-n,--n-gen", "LIST", "tokens to decode, like 64,128; 0: no such test"},
                  options.generated_tokens, kCounts);
  set.add_numbers({"-d,--depth", "LIST", "tokens in the cache before decoding, like 0,32768"},
                  options.depths, kCounts);
  set.add_number({"-r,--repetitions", "N", "how often each is measured, 1 to 1000"},
                 options.repetitions, Range<int32_t>{1, 1000});
  const CLI::Option* const steps = set.add_value(
      {"--kernel", "LIST", "steps alone, at -p rows or over -d: names, or all (default none)"},
      [&options](const std::string& name, const std::string& value) {
        options.kernels = read_kernels(name, value);
      });
  const CLI::Option* const table = set.add_flag(
      {"--kernels", "", "the passes of -p and -n, kernel by kernel as they run (default off)"},
      [&options] { options.kernel_table = true; });
  set.exclude(steps, table);
  set.add_path({"--config", "FILE",
                "a config.json instead of a model, with --random-weights (default none)"},
               options.shape_file);
  set.add_flag(
      {"--random-weights", "", "random weights of the shape in --config FILE (default off)"},
      [&options] { options.random_weights = true; });
  add_context(set, options.compute.context);
  add_output(set, options.output, table_formats());
  add_kv_lists(set, options.policies, options.budgets, "(default none)");
  add_kv_details(set, options.kv);
  add_compute_options(set, options.compute);
  add_profile_options(set, options.profile);
}

void check_bench(BenchOptions& options) {
  std::erase(options.prompt_tokens, 0);
  std::erase(options.generated_tokens, 0);
  if (options.shape_file.empty() == options.random_weights) {
    fail(ExitCode::kUsage, "--config FILE and --random-weights go together");
  }
  if (options.random_weights && !options.model.dir.empty()) {
    fail(ExitCode::kUsage, "-m and --config exclude each other");
  }
  if (options.kernels.empty() && options.prompt_tokens.empty() &&
      options.generated_tokens.empty()) {
    fail(ExitCode::kUsage, "'winnow bench' has nothing to measure: -p and -n are 0");
  }
  const bool watched = !options.profile.trace.empty() || options.profile.range.has_value();
  if (watched && !options.kernels.empty()) {
    fail(ExitCode::kUsage,
         "--trace and --profile-range watch whole passes, which --kernel has none of");
  }
  const bool drops =
      std::ranges::any_of(options.policies, [](const auto& p) { return p != "full"; });
  check_profile(options.profile, options.compute,
                {.prefill = !options.prompt_tokens.empty(),
                 .decode = !options.generated_tokens.empty(),
                 .compact = drops && !options.prompt_tokens.empty()});
  // What a graph replays cannot be told by the step that it belongs to.
  if (options.kernel_table) options.compute.graph = false;
  bench_methods(options);
}

/// Of several policies each takes what has a meaning for it; a single one must take all.
std::vector<KvOptions> bench_methods(const BenchOptions& options) {
  const bool alone = options.policies.size() == 1;
  if (alone) {
    KvOptions method = options.kv;
    method.policy = options.policies.front();
    if (!options.budgets.empty()) method.budget = options.budgets.front();
    check_kv(method);
  }
  return cross_methods(options.policies, options.budgets, options.kv);
}

}  // namespace winnow
