#include "src/bench/kernels.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "src/base/error.h"
#include "src/bench/kernel_names.h"
#include "src/bench/step_memory.h"

namespace winnow {
namespace {

constexpr double kSecondsOfARun = 0.02;  // long beside what a clock and a wait cost
constexpr double kMostRounds = 2000;
constexpr int64_t kFewRows = 16;  // batches so small that launching a step may take longer than it

KernelShape shape_of(const std::string& name) {
  return std::ranges::find(kKernelNames, name, &KernelName::name)->shape;
}

int64_t chunk_rows(const BenchOptions& options, const Device& device, int64_t n) {
  const int64_t asked = options.compute.prefill_rows;
  return std::min(n, asked > 0 ? asked : device.default_prefill_rows());
}

/// Whether a policy chooses among `depth` rows.
bool chooses(const KvSettings& kv, int64_t depth) {
  return kv.policy && kv.policy->scores_rows() && kv.exceeds(depth);
}

/// A step that is called `calls` times by `round`.
struct Step {
  int64_t calls = 1;
  bool short_steps = false;  // and nothing but steps that may be recorded
  std::function<void()> round = {};
  std::function<void()> after = [] {};  // the host's part of a round
};

class Kernels {
 public:
  Kernels(const BenchScene& scene, const AddRecord& add)
      : scene_(scene), device_(scene.device()), shape_(scene.shape), add_(add) {
    shape_.config.window = 0;  // rows here have none
  }

  void rows(const std::string& name, int64_t n) const;
  void prompt(int64_t n, int64_t depth) const;
  void cache(const KvOptions& method, int64_t depth) const;
  void token(const std::string& name) const;
  void winnow(const std::vector<std::string>& names, const KvOptions& method, int64_t depth) const;

 private:
  std::vector<double> time(const Step& step) const;
  void add(BenchRecord record, const Step& step) const;
  Step step_of_winnowing(const std::string& name, const WinnowMemory& memory) const;
  Cost cost_of_winnowing(const std::string& name, const WinnowMemory& memory) const;

  static BenchRecord new_record(const std::string& name, int64_t tokens, int64_t depth) {
    return {.kind = BenchKind::kKernel,
            .name = name,
            .tokens = tokens,
            .depth = depth,
            .policy = "full",
            .budget = {},
            .seconds = {},
            .cost = {}};
  }

  const BenchScene& scene_;
  Device& device_;
  CostShape shape_;
  const AddRecord& add_;
};

/// Seconds of a call in each repeat, ascending.
std::vector<double> Kernels::time(const Step& step) const {
  const std::unique_ptr<Recording> recording =
      step.short_steps ? device_.record(step.round) : nullptr;
  const auto run = [&](double rounds) {
    device_.synchronize();
    const Stopwatch watch;
    for (double i = 0; i < rounds; ++i) {
      recording ? recording->run() : step.round();
      step.after();
    }
    device_.synchronize();
    return watch.seconds();
  };
  for (int i = 0; i < 2; ++i) run(1);  // a recording is ready at the third run
  const double rounds = std::clamp(std::ceil(kSecondsOfARun / run(1)), 1.0, kMostRounds);
  const double calls = rounds * static_cast<double>(step.calls);
  return sorted_seconds(scene_.options.repetitions, [&] { return run(rounds) / calls; });
}

void Kernels::add(BenchRecord record, const Step& step) const {
  record.seconds = time(step);
  add_(record);
}

/// Steps with weights, over all rows of a prompt in chunks as a prefill takes them.
void Kernels::rows(const std::string& name, int64_t n) const {
  const StepMemory memory(scene_, chunk_rows(scene_.options, device_, n));
  std::optional<RandomRows> rows;
  if (name == "qkv") rows.emplace(scene_, 1, KvSettings{}, 0, n);
  const ModelWeights& weights = scene_.model.weights;
  const auto one = [&](const LayerWeights& w, const Batch& batch, int64_t first) {
    if (name == "embed") return device_.embed(weights.embedding, batch);
    if (name == "attention_output") return device_.attention_output(w, batch, memory.a);
    if (name == "gate_up") return device_.gate_up(w, batch, memory.a);
    if (name == "down") return device_.down(w, batch, memory.a);
    KvRows kv = rows->layer(0);
    kv.appended = first;
    device_.qkv(w, batch, memory.a, kv);
  };
  Step step{.calls = scene_.config().n_layers, .short_steps = n <= kFewRows};
  step.round = [&] {
    for (const LayerWeights& w : weights.layers) {
      for (int64_t first = 0; first < n; first += memory.batch.n) {
        const int64_t count = std::min(memory.batch.n, n - first);
        one(w, slice(memory.batch, 0, count, scene_.config().hidden_size), first);
      }
    }
  };
  BenchRecord record = new_record(name, n, 0);
  record.cost = name == "embed"              ? embed_cost(shape_, n)
                : name == "attention_output" ? attention_output_cost(shape_, n)
                : name == "gate_up"          ? gate_up_cost(shape_, n)
                : name == "down"             ? down_cost(shape_, n)
                                             : qkv_cost(shape_, n);
  add(record, step);
}

/// attention_prefill: one layer, chunk by chunk.
void Kernels::prompt(int64_t n, int64_t depth) const {
  const StepMemory memory(scene_, chunk_rows(scene_.options, device_, n));
  const RandomRows rows(scene_, 1, {}, depth, n);
  KvRows kv = rows.layer(0);
  Step step;
  step.round = [&] {
    for (int64_t first = 0; first < n; first += memory.batch.n) {
      const int64_t count = std::min(memory.batch.n, n - first);
      kv.appended = first;
      device_.attention(slice(memory.batch, 0, count, scene_.config().hidden_size), memory.a, kv);
    }
  };
  BenchRecord record = new_record("attention_prefill", n, depth);
  record.cost = attention_cost(shape_, n, static_cast<double>(depth));
  add(record, step);
}

/// attention_decode: a row of each layer over the layer's own rows.
void Kernels::cache(const KvOptions& method, int64_t depth) const {
  const KvSettings kv = bench_settings(method, scene_.config(), device_.compute_type(), depth);
  const int64_t n_layers = scene_.config().n_layers;
  const StepMemory memory(scene_, 1);
  const RandomRows rows(scene_, n_layers, kv, depth, 1);
  Step step{.calls = n_layers, .short_steps = true};
  step.round = [&] {
    for (int64_t l = 0; l < n_layers; ++l) {
      KvRows layer = rows.layer(l);
      layer.k_plain = nullptr;  // what is timed is attention, not the turning of keys
      device_.attention(memory.batch, memory.a, layer);
    }
  };
  BenchRecord record = new_record("attention_decode", 1, depth);
  record.policy = method.policy;
  record.budget = budget_rows(kv);
  record.cost = attention_cost(shape_, 1, static_cast<double>(rows.older()));
  add(record, step);
}

void Kernels::token(const std::string& name) const {
  const StepMemory memory(scene_, 1);
  const auto n_ids = static_cast<int32_t>(scene_.config().vocab_size);
  BenchRecord record = new_record(name, 1, 0);
  Step step;
  if (name == "logits") {
    step.short_steps = true;
    step.round = [&] {
      device_.logits(scene_.model.weights, memory.batch, memory.a, memory.logits);
    };
    record.cost = logits_cost(shape_, 1);
  } else {
    step.calls = Device::kMaxDrawn;
    step.short_steps = true;
    step.round = [&] {
      for (int64_t i = 0; i < step.calls; ++i) {
        device_.sample(memory.logits, n_ids, {}, memory.state);
      }
    };
    step.after = [&] {
      for (int64_t i = 0; i < step.calls; ++i) device_.take_drawn();
    };
    record.cost = sample_cost(shape_);
  }
  add(record, step);
}

Step Kernels::step_of_winnowing(const std::string& name, const WinnowMemory& m) const {
  Step step{.short_steps = true};
  const auto round = [&]() -> std::function<void()> {
    Device& d = device_;
    if (name == "attention_scores") {
      return [&] { d.attention_scores(m.query, m.from(), m.zones, m.head_lists); };
    }
    if (name == "random_scores") {
      return [&] { d.random_scores(1, m.from(), m.zones, m.head_lists); };
    }
    if (name == "combine_scores") {
      return [&] { d.combine_scores(m.head_lists, GroupScore::kMean, m.zones, m.group_lists); };
    }
    if (name == "top_k") return [&] { d.top_k(m.zones, m.lists()); };
    if (name == "list_kept") return [&] { d.list_kept(m.from(), m.zones, m.lists(), m.kept); };
    return [&] { d.gather_rows(m.from(), m.kept, m.to()); };
  };
  step.round = round();
  return step;
}

Cost Kernels::cost_of_winnowing(const std::string& name, const WinnowMemory& m) const {
  const int64_t rows = m.zones.max_rows;
  if (name == "attention_scores") return attention_scores_cost(shape_, rows);
  if (name == "random_scores") return random_scores_cost(shape_, rows);
  if (name == "combine_scores") return combine_scores_cost(shape_, rows);
  if (name == "top_k") return top_k_cost(m.lists().n, m.zone());
  if (name == "list_kept") return list_kept_cost(m.lists().n, m.zone(), m.kept_rows());
  return gather_rows_cost(shape_, m.kept_rows());
}

/// One layer's rows are chosen from; every step finds what the steps before it leave.
void Kernels::winnow(const std::vector<std::string>& names, const KvOptions& method,
                     int64_t depth) const {
  const KvSettings kv = bench_settings(method, scene_.config(), device_.compute_type(), depth);
  if (!chooses(kv, depth)) return;
  WinnowMemory memory(scene_, kv, depth);
  for (const std::string& name : names) {
    memory.select();
    BenchRecord record = new_record(name, 0, depth);
    record.policy = method.policy;
    record.budget = budget_rows(kv);
    record.cost = cost_of_winnowing(name, memory);
    add(record, step_of_winnowing(name, memory));
  }
}

/// The names that take their size from `shape`.
std::vector<std::string> names_of(const BenchOptions& options, KernelShape shape) {
  std::vector<std::string> names;
  for (const std::string& name : options.kernels) {
    if (shape_of(name) == shape) names.push_back(name);
  }
  return names;
}

/// The plan of what has `rows` rows in a batch, `kv` and `kv_again` bytes of K/V rows, and `more`
/// bytes of scratch memory.
struct KernelNeeds {
  int64_t rows = 1;
  uint64_t kv = 0;
  uint64_t kv_again = 0;
  uint64_t more = 0;
};

class KernelPlan {
 public:
  explicit KernelPlan(const BenchRequest& request) : request_(request) {}

  BenchMemory operator()() {
    const auto& [options, files, device] = request_;
    include({}, 1);
    for (const int64_t n : options.prompt_tokens) {
      const int64_t chunk = chunk_rows(options, device, n);
      if (!names_of(options, KernelShape::kRows).empty()) {
        include({.rows = chunk, .kv = RandomRows::bytes(request_, 1, {}, 0, n)}, n);
      }
      if (names_of(options, KernelShape::kPrompt).empty()) continue;
      for (const int64_t depth : options.depths) {
        include({.rows = chunk, .kv = RandomRows::bytes(request_, 1, {}, depth, n)}, depth + n);
      }
    }
    for (const KvOptions& method : bench_methods(options)) {
      for (const int64_t depth : options.depths) include_caches(method, depth);
    }
    if (!chosen_ && n_winnow() == options.kernels.size()) {
      fail(ExitCode::kUsage, "--kernel ", options.kernels.front(),
           " needs a --kv-policy that scores rows, and a -d over its --kv-budget");
    }
    return memory_;
  }

 private:
  size_t n_winnow() const { return names_of(request_.options, KernelShape::kWinnow).size(); }

  void include_caches(const KvOptions& method, int64_t depth) {
    const auto& [options, files, device] = request_;
    const KvSettings kv = bench_settings(method, files.config, device.compute_type(), depth);
    if (!names_of(options, KernelShape::kCache).empty()) {
      include({.kv = RandomRows::bytes(request_, files.config.n_layers, kv, depth, 1)}, depth);
    }
    if (n_winnow() == 0 || !chooses(kv, depth)) return;
    chosen_ = true;
    include({.kv = RandomRows::bytes(request_, 1, {}, depth, 0),
             .kv_again = RandomRows::bytes(request_, 1, {}, kv.budget, 0),
             .more = WinnowMemory::scratch_bytes(request_, kv, depth)},
            depth);
  }

  void include(const KernelNeeds& needs, int64_t tokens) {
    const RunShape shape{.capacity = tokens,
                         .prompt_tokens = needs.rows,
                         .prefill_rows = needs.rows,
                         .extra_scratch = needs.more};
    MemoryPlan plan = plan_memory(request_.files, request_.device, shape);
    plan.kv = needs.kv;
    plan.kv_again = needs.kv_again;
    memory_.include(plan, shape);
  }

  const BenchRequest& request_;
  BenchMemory memory_;
  bool chosen_ = false;  // some rows are dropped
};

}  // namespace

BenchMemory plan_kernels(const BenchRequest& request) {
  return KernelPlan(request)();
}

void bench_kernels(const BenchScene& scene, const AddRecord& add) {
  const Kernels kernels(scene, add);
  const BenchOptions& options = scene.options;
  const std::vector<KvOptions> methods = bench_methods(options);
  for (const std::string& name : options.kernels) {
    const KernelShape shape = shape_of(name);
    if (shape == KernelShape::kToken) kernels.token(name);
    if (shape == KernelShape::kRows || shape == KernelShape::kPrompt) {
      for (const int64_t n : options.prompt_tokens) {
        if (shape == KernelShape::kRows) kernels.rows(name, n);
        if (shape == KernelShape::kRows) continue;
        for (const int64_t depth : options.depths) kernels.prompt(n, depth);
      }
    }
    if (shape != KernelShape::kCache) continue;
    for (const KvOptions& method : methods) {
      for (const int64_t depth : options.depths) kernels.cache(method, depth);
    }
  }
  const std::vector<std::string> winnowing = names_of(options, KernelShape::kWinnow);
  if (winnowing.empty()) return;
  for (const KvOptions& method : methods) {
    for (const int64_t depth : options.depths) kernels.winnow(winnowing, method, depth);
  }
}

}  // namespace winnow
