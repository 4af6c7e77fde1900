#include "src/bench/passes.h"

#include <memory>
#include <utility>

#include "src/bench/synthetic.h"
#include "src/forward.h"
#include "src/kv/plan.h"
#include "src/token_queue.h"

namespace winnow {
namespace {

/// Tokens that are drawn before the time is taken: the second step is recorded, see Device::record.
constexpr int64_t kWarmUpTokens = 16;

/// Any tokens do for timing; these are spread over the vocabulary and the same in every run.
std::vector<int32_t> any_tokens(int64_t n, int64_t vocab_size) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  uint32_t state = 1;
  for (int32_t& token : tokens) {
    state = state * 1664525U + 1013904223U;
    token = static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab_size));
  }
  return tokens;
}

/// How a cache is made for drawing `n` tokens again and again over `depth`.
struct DecodeRun {
  KvSettings kv;
  HeadRows head;  // of every KV head, before the first token
  KvPlan plan;
  int64_t capacity = 0;    // tokens of the text
  bool take_back = false;  // rows were appended: each repeat begins at `depth` again
};

DecodeRun decode_run(const BenchOptions& options, const KvSettings& kv, int64_t n, int64_t depth) {
  DecodeRun run;
  run.kv = kv;
  const int64_t drawn = 1 + kWarmUpTokens + n * options.repetitions;
  const bool ring = synthetic_head(kv, depth, 0).ring_rows > 0;
  run.take_back = !ring && kv.recompact == 0;
  const int64_t longest = std::max(n, kWarmUpTokens);
  run.capacity = depth + (run.take_back ? longest : drawn);
  run.plan.room = kv.left_of(depth) + (ring ? 0 : longest);
  if (kv.recompact > 0) {
    const int64_t rows = kv.left_of(depth);
    run.plan = plan_kv(kv, {&rows, 1}, run.capacity);
  }
  run.head = synthetic_head(kv, depth, run.plan.room - kv.left_of(depth));
  return run;
}

class Passes {
 public:
  explicit Passes(const BenchScene& scene) : scene_(scene) {}

  /// A prompt, and how much of the time rows were dropped in, where any were.
  void prefill(const KvOptions& method, int64_t n, const AddRecord& add) const {
    const KvSettings kv = settings(method, n);
    const std::vector<int32_t> prompt = any_tokens(n, scene_.config().vocab_size);
    const auto tokens = std::span(prompt);
    std::vector<double> compact;
    const auto read = [&](std::span<const int32_t> part) {
      Sequence sequence(scene_.model.network(), sequence_options(kv, std::ssize(part)));
      const Stopwatch watch;
      sequence.prefill(part, interruptible());
      sequence.wait();
      compact.push_back(sequence.compact_ms() * 1e-3);
      return watch.seconds();
    };
    {
      const Unwatched warm_up(scene_.watched);
      read(tokens.first(static_cast<size_t>(warm_up_rows(n))));
    }
    compact.clear();
    BenchRecord record = new_record(BenchKind::kPrefill, method, kv);
    record.tokens = n;
    record.seconds = sorted_seconds(scene_.options.repetitions, [&] { return read(tokens); });
    record.cost = prompt_cost(scene_.shape, n);
    add(record);
    if (!kv.exceeds(n)) return;
    BenchRecord part = new_record(BenchKind::kCompact, method, kv);
    std::ranges::sort(compact);
    part.tokens = n;
    part.seconds = std::move(compact);
    part.of_seconds = record.median_seconds();
    add(part);
  }

  void decode(const KvOptions& method, int64_t n, int64_t depth, const AddRecord& add) const {
    const DecodeRun run = decode_run(scene_.options, settings(method, depth), n, depth);
    SequenceOptions made_for = sequence_options(run.kv, run.capacity);
    made_for.prefill_rows = 1;
    Sequence sequence(scene_.model.network(), made_for);
    warm_up(sequence, run, depth);
    const double before = rows_a_head(sequence);
    double after = before;
    BenchRecord record = new_record(BenchKind::kDecode, method, run.kv);
    record.tokens = n;
    record.depth = depth;
    record.seconds = sorted_seconds(scene_.options.repetitions, [&] {
      const double seconds = step(sequence, n);
      after = rows_a_head(sequence);
      if (run.take_back) sequence.take_back(n);
      return seconds;
    });
    // A token sees its own row, too, which a ring puts over an older one.
    const double older = (before + after - (run.head.ring_rows > 0 ? 2 : 1)) / 2;
    record.cost = static_cast<double>(n) * token_cost(scene_.shape, older);
    record.older = older;
    add(record);
  }

 private:
  BenchRecord new_record(BenchKind kind, const KvOptions& method, const KvSettings& kv) const {
    return {.kind = kind,
            .name = bench_name(kind),
            .policy = method.policy,
            .budget = budget_rows(kv),
            .seconds = {},
            .cost = {}};
  }

  KvSettings settings(const KvOptions& method, int64_t n_prompt) const {
    return bench_settings(method, scene_.config(), scene_.device().compute_type(), n_prompt);
  }

  SequenceOptions sequence_options(const KvSettings& kv, int64_t capacity) const {
    return {.capacity = capacity, .prefill_rows = scene_.options.compute.prefill_rows, .kv = kv};
  }

  /// Rows that meet every size of batch that a prompt of `n` has: one whole chunk, and the rest.
  int64_t warm_up_rows(int64_t n) const {
    const int64_t asked = scene_.options.compute.prefill_rows;
    const int64_t chunk = asked > 0 ? asked : scene_.device().default_prefill_rows();
    return n <= chunk ? n : chunk + n % chunk;
  }

  /// Fills the cache and draws until everything is ready.
  void warm_up(Sequence& sequence, const DecodeRun& run, int64_t depth) const {
    const Unwatched unwatched(scene_.watched);
    std::unique_ptr<KvStore> store = sequence.new_store();
    fill_store(*store, scene_.device(), scene_.config(), run.kv, depth, run.head);
    sequence.adopt(std::move(store), depth);
    sequence.set_next_token(1);
    sequence.decode();  // leaves the logits that the first draw needs
    if (run.take_back) sequence.take_back(1);
    step(sequence, kWarmUpTokens);
    if (run.take_back) sequence.take_back(kWarmUpTokens);
  }

  /// Draws a token, and returns the seconds in which `n` tokens went through the network, each
  /// drawn by the step before it.
  double step(Sequence& sequence, int64_t n) const {
    const auto n_ids = static_cast<int32_t>(scene_.config().vocab_size);
    TokenQueue queue(sequence, n_ids, {}, {}, sequence.steps_ahead());
    queue.next(1);
    const Stopwatch watch;
    for (int64_t i = 0; i < n; ++i) {
      check_interrupt();
      queue.next(n + 1);
    }
    return watch.seconds();
  }

  double rows_a_head(const Sequence& sequence) const {
    return static_cast<double>(sequence.cache().rows_held()) /
           static_cast<double>(scene_.config().n_layers * scene_.config().n_kv_heads);
  }

  static PrefillHooks interruptible() {
    PrefillHooks hooks;
    hooks.progress = [](uint64_t, uint64_t) { check_interrupt(); };
    return hooks;
  }

  const BenchScene& scene_;
};

}  // namespace

BenchMemory plan_passes(const BenchRequest& request) {
  const BenchOptions& options = request.options;
  const ModelConfig& config = request.files.config;
  const DType type = request.device.compute_type();
  BenchMemory memory;
  const auto include = [&](const RunShape& shape, int64_t tokens) {
    memory.include(plan_memory(request.files, request.device, shape), shape);
    memory.tokens = std::max(memory.tokens, tokens);
  };
  for (const KvOptions& method : bench_methods(options)) {
    for (const int64_t n : options.prompt_tokens) {
      const KvSettings kv = bench_settings(method, config, type, n);
      include({.capacity = n,
               .prompt_tokens = n,
               .prefill_rows = options.compute.prefill_rows,
               .kv = kv,
               .kv_plan = plan_kv(kv, {&n, 1}, n)},
              n);
    }
    for (const int64_t depth : options.depths) {
      const KvSettings kv = bench_settings(method, config, type, depth);
      for (const int64_t n : options.generated_tokens) {
        const DecodeRun run = decode_run(options, kv, n, depth);
        include({.capacity = run.capacity,
                 .prompt_tokens = 1,
                 .prefill_rows = 1,
                 .kv = kv,
                 .kv_plan = run.plan},
                depth + n);
      }
    }
  }
  return memory;
}

void bench_passes(const BenchScene& scene, const AddRecord& add) {
  const Passes passes(scene);
  const BenchOptions& options = scene.options;
  for (const KvOptions& method : bench_methods(options)) {
    for (const int64_t n : options.prompt_tokens) passes.prefill(method, n, add);
    for (const int64_t depth : options.depths) {
      for (const int64_t n : options.generated_tokens) passes.decode(method, n, depth, add);
    }
  }
}

}  // namespace winnow
