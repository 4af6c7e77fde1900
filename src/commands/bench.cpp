// winnow bench: how fast prompts are read, tokens drawn and single steps done, beside what the
// machine reaches.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/bench/commit.h"
#include "src/bench/kernel_report.h"
#include "src/bench/kernel_table.h"
#include "src/bench/kernels.h"
#include "src/bench/passes.h"
#include "src/bench/report.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"
#include "src/commands/watching.h"

namespace winnow {
namespace {

/// 0 where nothing of the kind is timed.
int64_t longest(const std::vector<int64_t>& lengths) {
  return lengths.empty() ? 0 : *std::ranges::max_element(lengths);
}

BenchMemory checked_memory(const BenchRequest& request, int64_t context) {
  const BenchOptions& options = request.options;
  const bool passes = options.kernels.empty();
  BenchMemory memory = passes ? plan_passes(request) : plan_kernels(request);
  if (passes && memory.tokens > context) {
    fail(ExitCode::kPrompt, "-p ", longest(options.prompt_tokens), ", and -n ",
         longest(options.generated_tokens), " at -d ", longest(options.depths),
         ", do not fit a context of ", context, " tokens; -c raises it");
  }
  check_memory(memory.plan, request.device, memory.largest);
  return memory;
}

std::string shape_name(const BenchOptions& options) {
  const std::filesystem::path& from =
      options.random_weights ? options.shape_file : options.model.dir;
  const std::filesystem::path whole = from.lexically_normal();
  const std::filesystem::path last = whole.has_filename() ? whole : whole.parent_path();
  return options.random_weights ? last.stem().string() : last.filename().string();
}

std::string ceilings_line(const Ceilings& ceilings) {
  char line[160];
  std::snprintf(line, sizeof(line),
                "ceilings: read %.1f GB/s, copy %.1f GB/s, matrix product %.3g TFLOP/s",
                ceilings.read_gbps, ceilings.copy_gbps, ceilings.gemm_tflops);
  return line;
}

/// Runs what is asked for, which `add` takes record by record.
void run_measurements(const BenchScene& scene, const AddRecord& add) {
  if (scene.options.kernels.empty()) {
    bench_passes(scene, add);
  } else {
    bench_kernels(scene, add);
  }
}

void report_records(const BenchScene& scene, const BenchRun& run) {
  BenchReport report(scene.options.output, run);
  run_measurements(scene, [&](const BenchRecord& record) {
    report.add(record, scene.device().arena().high_water());
  });
  report.finish();
}

/// What ran in the passes, instead of how long they took.
void report_kernels(const BenchScene& scene, const BenchRun& run, KernelTable& table) {
  KernelReport report(scene.options.output, run);
  scene.watched->watch().close();
  table.forget();  // weights that were drawn, and the ceilings
  run_measurements(scene, [&](const BenchRecord& record) {
    if (record.kind == BenchKind::kCompact) return;
    scene.watched->watch().close();
    report.add(record, table.take(record), table.timer());
  });
  report.finish();
}

}  // namespace

ExitCode run_bench(const BenchOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(
      options.random_weights ? open_shape(options.shape_file) : open_network(options.model.dir),
      console);
  const int64_t context = context_size(files.config, options.compute.context, console);
  Watching watching(options.profile);
  std::shared_ptr<KernelTable> table;
  if (options.kernel_table) {
    table = std::make_shared<KernelTable>(files.config, files.plan.type);
    watching.add(table);
  }
  auto device = open_device(files, options.compute, console, watching.observers());
  WatchedDevice& watched = *device;
  if (!watched.watch().why_no_kernels().empty()) {
    console.note("only steps are timed, by events: " + watched.watch().why_no_kernels());
  }
  const BenchMemory memory = checked_memory({options, files, *device}, context);
  const BenchRun run{.shape = shape_name(options),
                     .gpu = device->name(),
                     .driver = device->driver(),
                     .commit = built_commit(),
                     .flags = bench_flags(options),
                     .ceilings = device->measure_ceilings()};
  console.summary(ceilings_line(run.ceilings));
  const Model model =
      load_with_progress(files, std::move(device), options.model, memory.plan, console);
  const CostShape shape{
      .config = files.config, .weights = files.plan.type, .rows = model.device->compute_type()};
  const BenchScene scene{.options = options, .model = model, .shape = shape, .watched = &watched};
  table ? report_kernels(scene, run, *table) : report_records(scene, run);
  watching.finish(watched);
  return ExitCode::kOk;
}

}  // namespace winnow
