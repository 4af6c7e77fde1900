// Watching a run on the GPU: kernels by CUPTI and steps by events, ranges for profilers, dumps; and
// nothing that is watched changes a bit.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cuda/check.h"
#include "cuda/profilers.h"
#include "cuda/profiling.h"
#include "cuda/random.h"
#include "src/watch/profile_range.h"
#include "src/watch/step_dump.h"
#include "src/watch/watched_device.h"
#include "tests/gpu/gpu.h"
#include "tests/npy.h"

using namespace winnow;
using namespace winnow::test;

namespace {

int64_t steady_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

/// All that was told.
class Witness final : public Observer {
 public:
  void attach(Device& /*device*/, std::string_view name) override { timer = name; }
  bool wants_kernels() const override { return true; }
  void begin(const Span& span) override {
    if (span.kind == SpanKind::kStep) ++steps[{span.phase, span.step->kind}];
    if (span.kind == SpanKind::kToken) ++tokens;
  }
  void kernel(const Kernel& kernel) override {
    CHECK(kernel.start_ns < kernel.end_ns);
    CHECK(kernel.start_ns >= last_start_ns);
    last_start_ns = kernel.start_ns;
    last_end_ns = std::max(last_end_ns, kernel.end_ns);
    if (first_start_ns == 0) first_start_ns = kernel.start_ns;
    ++kernels;
    names.insert(std::string(kernel.name));
    if (kernel.place == nullptr) {
      ++homeless;
    } else {
      ++kernels_of[{kernel.place->phase, kernel.place->kind}];
    }
  }

  using Key = std::pair<Phase, StepKind>;
  std::string timer;
  std::map<Key, int64_t> steps;
  std::map<Key, int64_t> kernels_of;
  std::set<std::string> names;
  int64_t tokens = 0;
  int64_t kernels = 0;
  int64_t homeless = 0;
  int64_t first_start_ns = 0;
  int64_t last_start_ns = 0;
  int64_t last_end_ns = 0;
};

const TinyModel kShape = {.hidden_size = 256,
                          .intermediate_size = 512,
                          .n_layers = 2,
                          .n_heads = 4,
                          .n_kv_heads = 2,
                          .head_dim = 64,
                          .vocab_size = 500,
                          .max_positions = 512};

/// Loading launches no kernels of its own.
RunShape shape_without_factors() {
  RunShape shape = roomy_shape(256);
  shape.kv.policy = nullptr;
  shape.kv.cut = CutScope::kList;
  return shape;
}

Model load_watched(const Observers& observers, bool graph, DType type = DType::kBF16) {
  TinyModel tiny = kShape;
  tiny.type = type;
  const TempDir dir;
  write_tiny_model(dir.path(), tiny);
  const ModelFiles files = open_network(dir.path());
  auto device = make_cuda_device(files.config, files.plan.type, {.graph = graph, .note = {}});
  return load_model(files, std::make_unique<WatchedDevice>(std::move(device), observers),
                    shape_without_factors(), {});
}

WatchedDevice& watched(const Model& model) {
  return dynamic_cast<WatchedDevice&>(*model.device);
}

/// Reads 100 tokens, keeps 32 rows of them, decodes 6; the logits at the end.
std::vector<float> run(const Model& model) {
  KvSettings kv;
  kv.policy = make_policy("streaming");
  kv.budget = 32;
  kv.shares = {.sink = 4, .k = 0, .recent = 28};
  Sequence sequence(model.network(), SequenceOptions{.capacity = 200, .kv = kv});
  std::vector<int32_t> prompt(100);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 7 % 500);
  sequence.prefill(prompt);
  sequence.wait();
  for (int i = 0; i < 6; ++i) {
    sequence.sample(500, {});
    sequence.decode();
  }
  std::vector<float> logits(500);
  sequence.download_logits(logits);
  watched(model).watch().close();
  return logits;
}

}  // namespace

TEST_CASE("cuda watch: every kernel belongs to the step that launched it, every step has kernels") {
  NEEDS_GPU();
  const auto witness = std::make_shared<Witness>();
  const Model model = load_watched({witness}, false);
  const int64_t before = steady_ns();
  run(model);
  const int64_t behind = steady_ns();
  MESSAGE("measured by ", witness->timer, "; ", watched(model).watch().why_no_kernels());
  CHECK(witness->homeless == 0);
  CHECK(witness->tokens == 6);
  for (const auto& [key, count] : witness->steps) {
    CAPTURE(phase_name(key.first));
    CAPTURE(step_name(key.second));
    CHECK(witness->kernels_of[key] >= count);
  }
  // The clocks agree: nothing ran before it was asked for, or behind the end.
  constexpr int64_t kSlackNs = 1000000;
  CHECK(witness->first_start_ns > before - kSlackNs);
  CHECK(witness->last_end_ns < behind + kSlackNs);
  if (witness->timer != "cupti") {
    WARN_MESSAGE(false, "CUPTI is not there: kernels were not seen");
    return;
  }
  for (const char* name : {"embed_kernel", "rmsnorm_kernel", "advance_kernel"}) {
    CAPTURE(name);
    CHECK(witness->names.contains(name));
  }
  std::string all;
  for (const std::string& name : witness->names) all += " " + name;
  MESSAGE("kernels:", all);
}

TEST_CASE("cuda watch: a graph's kernels are seen, of no step; as many as without it") {
  NEEDS_GPU();
  const auto plain = std::make_shared<Witness>();
  const auto graph = std::make_shared<Witness>();
  const std::vector<float> a = run(load_watched({plain}, false));
  const std::vector<float> b = run(load_watched({graph}, true));
  CHECK(a == b);
  CHECK(graph->tokens == plain->tokens);
  // Called once, captured once, and then replayed.
  const Witness::Key down{Phase::kDecode, StepKind::kDown};
  CHECK(graph->steps[down] == 2 * kShape.n_layers);
  CHECK(plain->steps[down] == 6 * kShape.n_layers);
  if (plain->timer != "cupti") return;
  CHECK(graph->homeless > 0);
  CHECK(graph->kernels == plain->kernels);
}

TEST_CASE("cuda watch: who watches changes nothing, and may come and go") {
  NEEDS_GPU();
  const std::vector<float> alone = run(load_watched({}, true));
  for (int i = 0; i < 2; ++i) {
    const Observers all = {std::make_shared<Witness>(), make_nvtx_ranges(),
                           std::make_shared<ProfileRange>(Phase::kCompact),
                           std::make_shared<ProfileRange>(Phase::kDecode)};
    REQUIRE(all[1] != nullptr);
    CHECK(run(load_watched(all, true)) == alone);
  }
  const auto witness = std::make_shared<Witness>();
  const Model model = load_watched({witness}, false);
  {
    const Unwatched unwatched(&watched(model));
    CHECK(run(model) == alone);
  }
  CHECK(witness->kernels == 0);
  CHECK(run(model) == alone);
  CHECK(witness->kernels > 0);
  CHECK(witness->homeless == 0);
}

TEST_CASE("cuda watch: events time steps outside of captures, one after the other") {
  NEEDS_GPU();
  cudaStream_t stream = nullptr;
  cuda::check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
  constexpr uint64_t kNumbers = uint64_t{1} << 24;
  void* numbers = nullptr;
  cuda::check_cuda(cudaMalloc(&numbers, kNumbers * sizeof(float)), "allocate");
  const auto fill = [&] { cuda::fill_random(numbers, DType::kF32, kNumbers, 1, 1.0F, stream); };
  {
    const auto profiler = cuda::make_event_profiler(stream, "a test");
    CHECK(profiler->name() == "events");
    CHECK(profiler->why_no_kernels() == "a test");
    constexpr uint64_t kSteps = 9000;  // more than are kept unread
    fill();
    const int64_t before = steady_ns();
    for (uint64_t id = 1; id <= kSteps; ++id) {
      profiler->begin_step(id);
      if (id <= 3) fill();
      profiler->end_step();
    }
    uint64_t last = 0;
    int64_t end = before - 2000000;
    profiler->collect([&](const KernelRun& run) {
      CHECK(run.step == ++last);
      CHECK(run.name.empty());
      CHECK(run.start_ns >= end - 100000);  // zero points are set anew, a little late
      end = run.end_ns;
      // 64 MiB are written at less than 20 TB/s; nothing takes nearly no time.
      if (last <= 3) CHECK(run.end_ns - run.start_ns > 3000);
      if (last > 3) CHECK(run.end_ns - run.start_ns < 1000000);
    });
    CHECK(last == kSteps);
    CHECK(end < steady_ns() + 1000000);

    cudaGraph_t graph = nullptr;
    cuda::check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    profiler->begin_step(1);
    fill();
    profiler->end_step();
    cuda::check_cuda(cudaStreamEndCapture(stream, &graph), "capture");
    profiler->collect([](const KernelRun&) { FAIL("nothing ran"); });
    cuda::check_cuda(cudaGraphDestroy(graph), "capture");
  }
  cuda::check_cuda(cudaFree(numbers), "free");
  cuda::check_cuda(cudaStreamDestroy(stream), "free");
}

TEST_CASE("cuda watch: an F32 model's dump is the CPU's, step by step") {
  NEEDS_GPU();
  TinyModel tiny = kShape;
  tiny.type = DType::kF32;
  const TempDir dir;
  std::filesystem::create_directory(dir / "model");
  write_tiny_model(dir / "model", tiny);
  const ModelFiles files = open_network(dir / "model");
  const auto dump = [&](std::unique_ptr<Device> device, const std::filesystem::path& folder) {
    const Observers observers = {std::make_shared<StepDump>(DumpPlace(folder, {}, files.config))};
    run(load_model(files, std::make_unique<WatchedDevice>(std::move(device), observers),
                   shape_without_factors(), {}));
  };
  dump(make_cuda_device(files.config, files.plan.type, {.graph = false, .note = {}}), dir / "gpu");
  dump(make_cpu_device(files.config, 2), dir / "cpu");
  int64_t n = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir / "cpu")) {
    if (!entry.is_regular_file()) continue;
    const auto name = std::filesystem::relative(entry.path(), dir / "cpu");
    CAPTURE(name.string());
    const auto a = read_npy<float>(entry.path());
    const auto b = read_npy<float>(dir / "gpu" / name);
    REQUIRE(a.shape == b.shape);
    float most = 0;
    for (size_t i = 0; i < a.values.size(); ++i) {
      most = std::max(most, std::abs(a.values[i] - b.values[i]));
    }
    CHECK(most < 1e-3F);
    ++n;
  }
  CHECK(n == (2 + 2 * 7) * (1 + 6));
}
