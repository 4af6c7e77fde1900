#include "src/eval/runner.h"

#include <algorithm>
#include <utility>

#include "src/base/splitmix.h"
#include "src/cli/interrupt.h"
#include "src/generate.h"

namespace winnow {

SequenceSet::SequenceSet(const Model& model, std::span<const KvSettings> settings, int64_t capacity,
                         int64_t prefill_rows) {
  for (const KvSettings& kv : settings) {
    sequences_.push_back(std::make_unique<Sequence>(
        model.network(),
        SequenceOptions{.capacity = capacity, .prefill_rows = prefill_rows, .kv = kv}));
  }
}

SequenceSet::~SequenceSet() {
  while (!sequences_.empty()) sequences_.pop_back();
}

void SequenceSet::read_together(std::span<const int32_t> tokens, const PrefillHooks& hooks) {
  std::vector<std::vector<Sequence*>> groups;  // each with the same streaming heads
  for (const auto& sequence : sequences_) {
    const KvSettings& kv = sequence->kv_settings();
    if (kv.reads_chunks(std::ssize(tokens))) {
      sequence->prefill(tokens, hooks);  // what it has dropped, its later chunks do not see
      continue;
    }
    const auto group = std::ranges::find_if(groups, [&](const std::vector<Sequence*>& others) {
      return others.front()->kv_settings().heads == kv.heads;
    });
    (group != groups.end() ? *group : groups.emplace_back()).push_back(sequence.get());
  }
  for (const auto& group : groups) Sequence::prefill_together(group, tokens, hooks);
}

std::vector<KvSettings> resolve_methods(std::span<const KvOptions> methods,
                                        const ModelConfig& config, DType type, int64_t tokens,
                                        uint64_t draw) {
  std::vector<KvSettings> settings;
  bool places_in_cache = false;
  for (KvOptions method : methods) {
    uint64_t& seed = method.policy_options.seed;
    seed = splitmix64(seed, draw);
    settings.push_back(resolve_kv(method, config, type, tokens));
    places_in_cache = places_in_cache || method.places_in_cache;
  }
  for (KvSettings& kv : settings) kv.places_in_cache = places_in_cache;
  return settings;
}

std::vector<RunShape> plan_runs(const ModelFiles& files, const Device& device,
                                std::span<const KvOptions> methods, int64_t first, int64_t then,
                                int64_t more) {
  std::vector<int64_t> prompts = {first};
  if (then > 0) prompts.push_back(then);
  std::vector<RunShape> shapes;
  // Together they all select from one layer of full K/V, whatever each would do alone.
  int64_t layer_rows = first;
  for (const KvSettings& kv :
       resolve_methods(methods, files.config, device.compute_type(), first, 0)) {
    RunShape shape{.capacity = first + then + more, .prompt_tokens = std::max(first, then)};
    shape.kv = kv;
    shape.kv_plan = plan_kv(kv, prompts, shape.capacity);
    // A cache that is made anew again and again leaves holes below the others, which a region does
    // not fill: it comes to lie above them.
    if (kv.recompact > 0) shape.kv_plan.room = 2 * shape.kv_room();
    layer_rows = std::max(layer_rows, shape.kv_plan.layer_rows);
    shapes.push_back(shape);
  }
  for (RunShape& shape : shapes) shape.kv_plan.layer_rows = layer_rows;
  return shapes;
}

void widen(std::vector<RunShape>& shapes, const std::vector<RunShape>& others) {
  for (size_t i = 0; i < shapes.size(); ++i) {
    RunShape& shape = shapes[i];
    const RunShape& other = others[i];
    shape.kv_plan.room = std::max(shape.kv_room(), other.kv_room());
    shape.kv_plan.twice = shape.kv_plan.twice || other.kv_plan.twice;
    shape.kv_plan.layer_rows = std::max(shape.kv_plan.layer_rows, other.kv_plan.layer_rows);
    shape.capacity = std::max(shape.capacity, other.capacity);
    shape.prompt_tokens = std::max(shape.prompt_tokens, other.prompt_tokens);
    if (other.kv.budget > shape.kv.budget) shape.kv = other.kv;
  }
}

void measure_cache(const Sequence& sequence, const Model& model, SampleResult& result) {
  const KvMeter& meter = sequence.meter();
  const uint64_t row = KvStore::row_bytes(model.config, model.device->compute_type());
  result.rows_kept = sequence.cache().rows_held();
  result.bytes_kept = sequence.cache().bytes_held();
  result.bytes_peak = static_cast<uint64_t>(meter.most_held()) * row;
  result.footprint = meter.footprint();
  result.occupancy = meter.occupancy();
}

std::vector<SampleResult> SampleRunner::run(const EvalSample& sample, uint64_t draw,
                                            const Progress& progress) const {
  const std::vector<KvSettings> settings = resolve_methods(
      methods_, files_.config, model_.device->compute_type(), std::ssize(sample.first), draw);
  SequenceSet sequences(model_, settings, sample.tokens() + sample.max_tokens, prefill_rows_);
  PrefillHooks hooks;
  hooks.progress = [&](uint64_t done, uint64_t total) {
    check_interrupt();
    if (progress) progress(done, total);
  };
  sequences.read_together(sample.first, hooks);
  hooks.progress = [](uint64_t, uint64_t) { check_interrupt(); };
  std::vector<SampleResult> results;
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (!sample.then.empty()) sequences[i].prefill(sample.then, hooks);
    results.push_back(answer(sample, sequences[i]));
    const bool all = settings[i].budget == KvSettings::kNoBudget;
    results.back().budget = all ? 0 : settings[i].budget;
  }
  return results;
}

SampleResult SampleRunner::answer(const EvalSample& sample, Sequence& sequence) const {
  GenerateRequest request;
  request.max_tokens = sample.max_tokens;
  request.stop_ids = files_.stop_ids;
  request.stop_strings = sample.stop;
  request.text_before = true;
  const Generation text = generate(sequence, *files_.tokenizer, request, {});
  check_interrupt();
  SampleResult result{.prediction = text.text};
  result.score = score_answer(sample.metric, result.prediction, sample.answers);
  measure_cache(sequence, model_, result);
  result.rows_kept = text.rows_kept;  // right after the prompts
  result.bytes_kept = text.bytes_kept;
  result.decode_ms = text.decode_ms;
  result.decode_passes = text.decode_passes;
  return result;
}

}  // namespace winnow
