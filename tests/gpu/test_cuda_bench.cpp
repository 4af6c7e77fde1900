// bench on the GPU: every kernel can be timed by itself, recorded or not, and no declared cost is
// less than what a launch really takes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "src/bench/kernel_names.h"
#include "src/bench/kernels.h"
#include "src/bench/passes.h"
#include "tests/gpu/gpu.h"

using namespace winnow;
using namespace winnow::test;

namespace {

/// The records of a bench over random weights of a small shape of `type`.
struct SmallBench {
  SmallBench(const BenchOptions& options, const char* type, int64_t head_dim) {
    const TempDir dir;
    const TinyModel tiny{.hidden_size = 512,
                         .intermediate_size = 768,
                         .n_layers = 3,
                         .n_heads = 8,
                         .n_kv_heads = 2,
                         .head_dim = head_dim,
                         .vocab_size = 1000};
    write_file(dir / "shape.json",
               tiny_config_json(tiny, std::string(R"(,"torch_dtype":")") + type + "\""));
    const ModelFiles files = open_shape(dir / "shape.json");
    auto device = make_cuda_device(
        files.config, files.plan.type,
        {.graph = options.compute.graph, .fuse = options.compute.fuse, .note = {}});
    const BenchRequest request{options, files, *device};
    const bool passes = options.kernels.empty();
    const BenchMemory memory = passes ? plan_passes(request) : plan_kernels(request);
    ceilings = device->measure_ceilings();
    const Model model = load_model(files, std::move(device), memory.plan, {});
    const BenchScene scene{.options = options,
                           .model = model,
                           .shape = {.config = files.config,
                                     .weights = files.plan.type,
                                     .rows = model.device->compute_type()}};
    const AddRecord add = [&](const BenchRecord& record) { records.push_back(record); };
    passes ? bench_passes(scene, add) : bench_kernels(scene, add);
  }

  Ceilings ceilings;
  std::vector<BenchRecord> records;
};

BenchOptions options_of(bool kernels, bool graph) {
  BenchOptions options;
  options.prompt_tokens = {1, 300};
  options.generated_tokens = {4};
  options.depths = {0, 900};
  options.repetitions = 2;
  options.compute.graph = graph;
  options.compute.prefill_rows = 128;
  options.policies = {"full", "sage"};
  options.budgets = {{KvBudget::Unit::kRows, 64}};
  if (kernels) {
    for (const KernelName& kernel : kKernelNames) options.kernels.emplace_back(kernel.name);
  }
  return options;
}

void check_records(const SmallBench& bench) {
  for (const BenchRecord& record : bench.records) {
    CAPTURE(record.name);
    CAPTURE(record.tokens);
    CAPTURE(record.depth);
    CHECK(record.seconds.size() == 2);
    CHECK(record.seconds.front() > 0);
    // Small data may come from the second-level cache, but a launch takes longer than that.
    CHECK(record.share(bench.ceilings) < 1);
    CHECK(std::isfinite(record.value()));
  }
}

}  // namespace

TEST_CASE("cuda bench: every kernel is timed, in each type, with a graph and without") {
  NEEDS_GPU();
  for (const auto& [type, head_dim] :
       {std::pair{"bfloat16", 128}, std::pair{"float16", 64}, std::pair{"float32", 64}}) {
    for (const bool graph : {true, false}) {
      CAPTURE(std::string(type));
      CAPTURE(graph);
      const SmallBench bench(options_of(true, graph), type, head_dim);
      check_records(bench);
      for (const KernelName& kernel : kKernelNames) {
        CHECK(std::ranges::count(bench.records, kernel.name, &BenchRecord::name) > 0);
      }
    }
  }
}

TEST_CASE("cuda bench: prompts and tokens over caches that were filled without a prompt") {
  NEEDS_GPU();
  for (const bool graph : {true, false}) {
    const SmallBench bench(options_of(false, graph), "bfloat16", 128);
    check_records(bench);
    // full: 2 prompts and 2 depths; sage: the same, and what dropping rows took of the longer one.
    CHECK(bench.records.size() == 9);
  }
}
