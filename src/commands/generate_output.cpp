#include "src/commands/generate_output.h"

#include <cstdio>

#include "src/base/format_bytes.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

double rate(size_t n, double ms) {
  return ms > 0 ? static_cast<double>(n) * 1000 / ms : 0;
}

OrderedJson kv_json(const RunRecord& run) {
  const KvSettings& settings = run.sequence.kv_settings();
  const KvMeter& meter = run.sequence.meter();
  OrderedJson json;
  json["policy"] = run.options.kv.policy;
  json["budget"] = nullptr;
  if (settings.budget != KvSettings::kNoBudget) json["budget"] = settings.budget;
  json["rows_full"] = run.rows_full();
  json["rows_kept"] = run.result.rows_kept;
  json["rows_shared"] = run.result.rows_shared;
  json["bytes_full"] = run.bytes_full();
  json["bytes_kept"] = run.result.bytes_kept;
  json["bytes_peak"] = static_cast<uint64_t>(meter.most_held()) * run.row_bytes();
  json["footprint"] = meter.footprint();
  json["peak_fraction"] = meter.peak_fraction();
  json["occupancy"] = meter.occupancy();
  return json;
}

OrderedJson timings_json(const RunRecord& run) {
  OrderedJson json;
  json["load_ms"] = run.model.load_ms;
  if (run.loaded) json["cache_n"] = run.loaded->tokens;
  json["prompt_n"] = run.prompt_tokens();
  json["prompt_ms"] = run.result.prefill_ms;
  json["prompt_per_second"] = run.prompt_per_second();
  json["compact_ms"] = run.sequence.compact_ms();
  json["predicted_n"] = run.result.tokens.size();
  json["predicted_ms"] = run.result.decode_ms;
  json["predicted_per_second"] = run.predicted_per_second();
  return json;
}

OrderedJson cache_json(const CacheFileRecord& cache) {
  return {{"file", cache.file}, {"tokens", cache.tokens}, {"tokens_hash", cache.tokens_hash},
          {"rows", cache.rows}, {"bytes", cache.bytes},   {"ms", cache.ms}};
}

OrderedJson run_json(const RunRecord& run) {
  const Arena& arena = run.model.device->arena();
  OrderedJson json;
  json["text"] = run.result.text;
  json["tokens"] = run.result.tokens;
  json["prompt_tokens"] = run.text_tokens();
  json["stop_reason"] = stop_reason_name(run.result.stop_reason);
  json["timings"] = timings_json(run);
  json["kv"] = kv_json(run);
  if (run.loaded) json["cache_loaded"] = cache_json(*run.loaded);
  if (run.saved) json["cache_saved"] = cache_json(*run.saved);
  json["memory"] = {{"arena_high_water", arena.high_water()},
                    {"arena_committed", arena.committed()}};
  json["device"] = run.model.device->name();
  json["seed"] = run.request.sampler.seed;
  json["logits_hash"] = run.result.logits_hash;
  return json;
}

OrderedJson logprobs_json(const Tokenizer& tokenizer, const GeneratedToken& token) {
  const auto entry = [&](const TokenLogprob& logprob) {
    return OrderedJson{
        {"id", logprob.id}, {"piece", tokenizer.piece(logprob.id)}, {"logprob", logprob.logprob}};
  };
  OrderedJson json = entry(token.logprobs.front());
  json["top"] = OrderedJson::array();
  for (size_t i = 1; i < token.logprobs.size(); ++i)
    json["top"].push_back(entry(token.logprobs[i]));
  return json;
}

std::string line(const OrderedJson& json) {
  return json.dump() + "\n";
}

/// "12.0 MiB of 96.0 MiB": what is kept, and what all of it would be, where that is more.
std::string kept_of_full(uint64_t kept, uint64_t full) {
  return format_bytes(kept) + (kept < full ? " of " + format_bytes(full) : "");
}

}  // namespace

uint64_t RunRecord::row_bytes() const {
  return KvStore::row_bytes(files.config, model.device->compute_type());
}

int64_t RunRecord::rows_full() const {
  const ModelConfig& c = files.config;
  return static_cast<int64_t>(text_tokens()) * c.n_layers * c.n_kv_heads;
}

uint64_t RunRecord::bytes_full() const {
  return static_cast<uint64_t>(rows_full()) * row_bytes();
}

double RunRecord::prompt_per_second() const {
  return rate(prompt_tokens(), result.prefill_ms);
}

double RunRecord::predicted_per_second() const {
  return rate(static_cast<size_t>(result.decode_passes), result.decode_ms);
}

void print_summary(const Console& console, const RunRecord& run) {
  const auto print = [&](const char* format, auto... values) {
    char text[320];
    std::snprintf(text, sizeof(text), format, values...);
    console.summary(text);
  };
  const Generation& result = run.result;
  print("load    %8.1f ms   %s, %s of weights", run.model.load_ms, run.model.device->name().c_str(),
        format_bytes(run.files.plan.bytes).c_str());
  const auto print_cache = [&](const char* verb, const std::optional<CacheFileRecord>& cache) {
    if (!cache) return;
    print("%-7s %8.1f ms   %s, %zu tokens, %lld rows, in %s", verb, cache->ms,
          format_bytes(cache->bytes).c_str(), cache->tokens, static_cast<long long>(cache->rows),
          one_line(cache->file).c_str());
  };
  print_cache("opened", run.loaded);
  print("prefill %8.1f ms   %zu tokens, %.1f tokens/s", result.prefill_ms, run.prompt_tokens(),
        run.prompt_per_second());
  if (run.sequence.compact_ms() > 0) {
    const std::string shared = std::to_string(result.rows_shared) + " rows less than the budget, " +
                               "because several heads chose them";
    print("winnow  %8.1f ms   to score, select and compact%s", run.sequence.compact_ms(),
          result.rows_shared > 0 ? ("; " + shared).c_str() : "");
  }
  print_cache("saved", run.saved);
  print("decode  %8.1f ms   %zu tokens, %.1f tokens/s, ended by %s", result.decode_ms,
        result.tokens.size(), run.predicted_per_second(), stop_reason_name(result.stop_reason));
  print("cache   %s: %lld of %lld rows kept after the prompt, policy %s; %s at its highest",
        kept_of_full(result.bytes_kept, run.bytes_full()).c_str(),
        static_cast<long long>(result.rows_kept), static_cast<long long>(run.rows_full()),
        run.options.kv.policy.c_str(),
        format_bytes(static_cast<uint64_t>(run.sequence.meter().most_held()) * run.row_bytes())
            .c_str());
  print("arena   %8s      at its highest, %s now; logits %s",
        format_bytes(run.model.device->arena().high_water()).c_str(),
        format_bytes(run.model.device->arena().committed()).c_str(), result.logits_hash.c_str());
}

Printer::Printer(const GenerateOptions& options, const Tokenizer& tokenizer)
    : options_(options), tokenizer_(tokenizer), out_(options.output.file) {}

void Printer::start(const std::string& prompt) {
  if (!options_.echo) return;
  if (options_.output.format == Format::kText) out_.write(prompt);
  if (options_.output.format == Format::kJsonl) {
    out_.write(line({{"type", "prompt"}, {"text", prompt}}));
  }
  echoed_ = prompt;
}

void Printer::token(const GeneratedToken& token) {
  if (!token.logprobs.empty()) logprobs_.push_back(logprobs_json(tokenizer_, token));
  if (options_.output.format == Format::kText) out_.write(token.text);
  if (options_.output.format != Format::kJsonl) return;
  OrderedJson json = {{"type", "token"}, {"id", token.id}, {"text", token.text}};
  if (!token.logprobs.empty()) json["logprobs"] = logprobs_.back();
  out_.write(line(json));
}

void Printer::rest(const std::string& text) {
  if (options_.output.format == Format::kText) out_.write(text);
  if (options_.output.format == Format::kJsonl) {
    out_.write(line({{"type", "text"}, {"text", text}}));
  }
}

void Printer::finish(const RunRecord& run) {
  if (options_.output.format == Format::kText) return out_.end_line_on_terminal();
  OrderedJson json = run_json(run);
  json["text"] = echoed_ + run.result.text;
  if (options_.output.format == Format::kJsonl) {
    OrderedJson done = {{"type", "done"}};
    done.update(json);
    return out_.write(line(done));
  }
  if (!logprobs_.empty()) json["logprobs"] = logprobs_;
  out_.write(line(json));
}

}  // namespace winnow
