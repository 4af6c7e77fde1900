// winnow generate: a prompt in, its continuation out.
#include "src/generate.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "src/base/format_bytes.h"
#include "src/cli/interrupt.h"
#include "src/cli/output.h"
#include "src/cli/prompt.h"
#include "src/commands/commands.h"
#include "src/commands/session.h"

namespace winnow {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// Everything that the last lines and the JSON tell about a run.
struct RunRecord {
  const ModelFiles& files;
  const Model& model;
  const Sequence& sequence;
  const GenerateRequest& request;
  const Generation& result;

  double prompt_per_second() const { return rate(request.prompt.size(), result.prefill_ms); }
  double predicted_per_second() const {
    return rate(static_cast<size_t>(result.decode_passes), result.decode_ms);
  }
  static double rate(size_t n, double ms) {
    return ms > 0 ? static_cast<double>(n) * 1000 / ms : 0;
  }
};

OrderedJson kv_json(const RunRecord& run) {
  const KvMeter& meter = run.sequence.meter();
  OrderedJson json;
  json["policy"] = "full";
  json["budget"] = nullptr;
  json["rows_full"] = run.result.rows_kept;
  json["rows_kept"] = run.result.rows_kept;
  json["bytes_full"] = run.result.bytes_kept;
  json["bytes_kept"] = run.result.bytes_kept;
  json["bytes_peak"] = run.sequence.cache().bytes_held();
  json["footprint"] = meter.footprint();
  json["peak_fraction"] = meter.peak_fraction();
  json["occupancy"] = meter.occupancy();
  return json;
}

OrderedJson timings_json(const RunRecord& run) {
  OrderedJson json;
  json["load_ms"] = run.model.load_ms;
  json["prompt_n"] = run.request.prompt.size();
  json["prompt_ms"] = run.result.prefill_ms;
  json["prompt_per_second"] = run.prompt_per_second();
  json["compact_ms"] = 0.0;
  json["predicted_n"] = run.result.tokens.size();
  json["predicted_ms"] = run.result.decode_ms;
  json["predicted_per_second"] = run.predicted_per_second();
  return json;
}

OrderedJson run_json(const RunRecord& run) {
  const Arena& arena = run.model.device->arena();
  OrderedJson json;
  json["text"] = run.result.text;
  json["tokens"] = run.result.tokens;
  json["prompt_tokens"] = run.request.prompt.size();
  json["stop_reason"] = stop_reason_name(run.result.stop_reason);
  json["timings"] = timings_json(run);
  json["kv"] = kv_json(run);
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

void print_summary(const Console& console, const RunRecord& run) {
  const auto print = [&](const char* format, auto... values) {
    char text[256];
    std::snprintf(text, sizeof(text), format, values...);
    console.summary(text);
  };
  print("load    %8.1f ms   %s, %s of weights", run.model.load_ms, run.model.device->name().c_str(),
        format_bytes(run.files.plan.bytes).c_str());
  print("prefill %8.1f ms   %zu tokens, %.1f tokens/s", run.result.prefill_ms,
        run.request.prompt.size(), run.prompt_per_second());
  print("decode  %8.1f ms   %zu tokens, %.1f tokens/s, ended by %s", run.result.decode_ms,
        run.result.tokens.size(), run.predicted_per_second(),
        stop_reason_name(run.result.stop_reason));
  print("cache   %8s      %lld of %lld rows kept after the prompt, policy full",
        format_bytes(run.result.bytes_kept).c_str(), static_cast<long long>(run.result.rows_kept),
        static_cast<long long>(run.result.rows_kept));
  print("arena   %8s      at its highest; logits %s",
        format_bytes(run.model.device->arena().high_water()).c_str(),
        run.result.logits_hash.c_str());
}

SamplerOptions sampler_options(const GenerateOptions& options, const Console& console) {
  SamplerOptions sampler = options.sampler;
  if (options.seed) {
    sampler.seed = *options.seed;
  } else if (sampler.temperature > 0) {
    std::random_device entropy;
    sampler.seed = (uint64_t{entropy()} << 32) | entropy();
    console.summary("seed    " + std::to_string(sampler.seed));
  }
  return sampler;
}

/// Fails with kPrompt where the prompt alone is longer than the context.
GenerateRequest make_request(const GenerateOptions& options, const ModelFiles& files,
                             const std::string& text, int64_t context, const Console& console) {
  GenerateRequest request;
  request.prompt = encode_prompt(*files.tokenizer, text, options.bos);
  const auto n_prompt = static_cast<int64_t>(request.prompt.size());
  if (n_prompt > context) {
    fail(ExitCode::kPrompt, "the prompt does not fit: ", n_prompt,
         " tokens, and the context holds ", context);
  }
  // The last token that is drawn needs no row in the cache.
  const int64_t room = context - n_prompt + 1;
  request.max_tokens = options.max_tokens < 0 ? room : std::min(options.max_tokens, room);
  request.sampler = sampler_options(options, console);
  if (!options.ignore_eos) request.stop_ids = files.stop_ids;
  request.stop_strings = options.stop_strings;
  request.logprobs = options.logprobs.value_or(-1);
  request.text_before = !text.empty();
  return request;
}

/// What is written while the run goes on, and at its end, by format.
class Printer {
 public:
  Printer(const GenerateOptions& options, const Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer), out_(options.output.file) {}

  void start(const std::string& prompt) {
    if (!options_.echo) return;
    if (options_.output.format == Format::kText) out_.write(prompt);
    if (options_.output.format == Format::kJsonl) {
      out_.write(line({{"type", "prompt"}, {"text", prompt}}));
    }
    echoed_ = prompt;
  }

  void token(const GeneratedToken& token) {
    if (!token.logprobs.empty()) logprobs_.push_back(logprobs_json(tokenizer_, token));
    if (options_.output.format == Format::kText) out_.write(token.text);
    if (options_.output.format != Format::kJsonl) return;
    OrderedJson json = {{"type", "token"}, {"id", token.id}, {"text", token.text}};
    if (!token.logprobs.empty()) json["logprobs"] = logprobs_.back();
    out_.write(line(json));
  }

  void rest(const std::string& text) {
    if (options_.output.format == Format::kText) out_.write(text);
    if (options_.output.format == Format::kJsonl) {
      out_.write(line({{"type", "text"}, {"text", text}}));
    }
  }

  void finish(const RunRecord& run) {
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

 private:
  const GenerateOptions& options_;
  const Tokenizer& tokenizer_;
  Output out_;
  std::string echoed_;
  std::vector<OrderedJson> logprobs_;
};

ExitCode exit_code(StopReason reason) {
  if (reason != StopReason::kInterrupt) return ExitCode::kOk;
  return static_cast<ExitCode>(128 + interrupt_signal());
}

}  // namespace

ExitCode run_generate(const GenerateOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(open_model(options.model.dir), console);
  const std::string text = read_text(options.prompt, {.strict_utf8 = options.strict_utf8}, console);
  const int64_t context = context_size(files.config, options.compute.context, console);
  const GenerateRequest request = make_request(options, files, text, context, console);

  const auto n_prompt = static_cast<int64_t>(request.prompt.size());
  const RunShape shape{.capacity = std::min(context, n_prompt + request.max_tokens),
                       .prompt_tokens = n_prompt,
                       .prefill_rows = options.compute.prefill_rows};
  Printer printer(options, *files.tokenizer);
  const Model model = load_with_progress(files, options.model, options.compute, shape, console);
  Sequence sequence(model.network(), shape.capacity, shape.prefill_rows);
  printer.start(text);
  Progress progress(options.model.progress, "prefill", "tokens");
  GenerateHooks hooks;
  hooks.prefill_progress = [&](uint64_t done, uint64_t total) {
    const auto layers = static_cast<uint64_t>(files.config.n_layers);
    progress.update(done / layers, total / layers);
    if (done == total) progress.erase();
  };
  hooks.token = [&](const GeneratedToken& token) { printer.token(token); };
  hooks.rest = [&](const std::string& rest) { printer.rest(rest); };
  const Generation result = generate(sequence, *files.tokenizer, request, hooks);
  progress.erase();
  const RunRecord run{files, model, sequence, request, result};
  printer.finish(run);
  print_summary(console, run);
  return exit_code(result.stop_reason);
}

}  // namespace winnow
