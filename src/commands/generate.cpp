// winnow generate: a prompt in, its continuation out.
#include "src/generate.h"

#include <algorithm>
#include <optional>

#include "src/cli/interrupt.h"
#include "src/cli/prompt.h"
#include "src/commands/commands.h"
#include "src/commands/generate_output.h"
#include "src/commands/kept_output.h"
#include "src/commands/sampling.h"
#include "src/commands/session.h"
#include "src/layer_dump.h"

namespace winnow {
namespace {

/// What is read, one after the other.
struct Prompts {
  std::string first;
  std::string then;  // may be empty
};

Prompts read_prompts(const GenerateOptions& options, const Console& console) {
  TextRules rules{.strict_utf8 = options.strict_utf8};
  Prompts prompts{.first = read_text(options.prompt, rules, console), .then = {}};
  if (options.then_prompt) {
    rules.name = "--then";
    prompts.then = read_text({TextSource::Kind::kText, *options.then_prompt}, rules, console);
  }
  return prompts;
}

/// Fails with kPrompt where the prompts alone are longer than the context.
GenerateRequest make_request(const GenerateOptions& options, const ModelFiles& files,
                             const Prompts& prompts, int64_t context) {
  GenerateRequest request;
  request.prompt = encode_prompt(*files.tokenizer, prompts.first, options.bos);
  if (!prompts.then.empty()) {
    request.then = encode_prompt(*files.tokenizer, prompts.then, BosMode::kNo);
  }
  const auto n_prompt = static_cast<int64_t>(request.prompt.size() + request.then.size());
  if (n_prompt > context) {
    fail(ExitCode::kPrompt, "the prompt does not fit: ", n_prompt,
         " tokens, and the context holds ", context);
  }
  // The last token that is drawn needs no row in the cache.
  const int64_t room = context - n_prompt + 1;
  request.max_tokens = options.max_tokens < 0 ? room : std::min(options.max_tokens, room);
  if (!options.ignore_eos) request.stop_ids = files.stop_ids;
  request.stop_strings = options.stop_strings;
  request.logprobs = options.logprobs.value_or(-1);
  request.text_before = !prompts.first.empty() || !prompts.then.empty();
  return request;
}

/// Plans the memory of both prompts and what follows them.
RunShape make_shape(const GenerateOptions& options, const ModelFiles& files,
                    const GenerateRequest& request, const Device& device, int64_t context,
                    const Console& console) {
  std::vector<int64_t> prompts = {std::ssize(request.prompt)};
  if (!request.then.empty()) prompts.push_back(std::ssize(request.then));
  const int64_t n_prompt = prompts.front() + std::ssize(request.then);
  RunShape shape{.capacity = std::min(context, n_prompt + request.max_tokens),
                 .prompt_tokens = *std::ranges::max_element(prompts),
                 .prefill_rows = options.compute.prefill_rows};
  KvOptions kv = options.kv;
  kv.seed = request.sampler.seed;  // also one that was drawn: told, it repeats the whole run
  plan_kv_rows(kv, files, device, prompts, shape, console);
  return shape;
}

ExitCode exit_code(StopReason reason) {
  if (reason != StopReason::kInterrupt) return ExitCode::kOk;
  return static_cast<ExitCode>(128 + interrupt_signal());
}

std::optional<LayerDump> open_dump(const GenerateOptions& options, const ModelConfig& config) {
  if (options.dump_dir.empty()) return std::nullopt;
  return LayerDump(options.dump_dir, options.dump_layers, config);
}

/// Where the results go.
struct Results {
  Printer& printer;
  KeptOutput& kept;
  const std::optional<LayerDump>& dump;
};

/// Runs the request, showing what happens while it does.
Generation run(const GenerateOptions& options, const ModelFiles& files,
               const GenerateRequest& request, Sequence& sequence, Device& device,
               const Console& console, const Results& results) {
  Progress progress(options.model.progress, "prefill", "tokens");
  GenerateHooks hooks;
  hooks.prefill_progress = [&](uint64_t done, uint64_t total) {
    const auto layers = static_cast<uint64_t>(files.config.n_layers);
    progress.update(done / layers, total / layers);
    if (done == total) progress.erase();
  };
  if (results.dump) {
    hooks.layer_rows = [&](const LayerRows& layer) { results.dump->write(device, layer); };
  }
  hooks.prompt_read = [&] {
    progress.erase();
    results.kept.show(*files.tokenizer, request, sequence, console);
  };
  hooks.token = [&](const GeneratedToken& token) { results.printer.token(token); };
  hooks.rest = [&](const std::string& rest) { results.printer.rest(rest); };
  Generation result = generate(sequence, *files.tokenizer, request, hooks);
  progress.erase();
  return result;
}

}  // namespace

ExitCode run_generate(const GenerateOptions& options) {
  const Console console(options.model);
  const ModelFiles files = noted(open_model(options.model.dir), console);
  const Prompts prompts = read_prompts(options, console);
  const int64_t context = context_size(files.config, options.compute.context, console);
  GenerateRequest request = make_request(options, files, prompts, context);
  const std::optional<LayerDump> dump = open_dump(options, files.config);
  auto device = open_device(files, options.compute, console);
  request.sampler = settle_sampler(options.sampler, options.seed, files.config.sampling, console);
  const RunShape shape = make_shape(options, files, request, *device, context, console);
  Printer printer(options, *files.tokenizer);
  KeptOutput kept(options);
  const Model model = load_with_progress(files, std::move(device), options.model, shape, console);
  Sequence sequence(
      model.network(),
      {.capacity = shape.capacity, .prefill_rows = shape.prefill_rows, .kv = shape.kv});
  printer.start(prompts.first + prompts.then);
  const Generation result =
      run(options, files, request, sequence, *model.device, console, {printer, kept, dump});
  const RunRecord record{files, model, sequence, options, request, result};
  printer.finish(record);
  print_summary(console, record);
  return exit_code(result.stop_reason);
}

}  // namespace winnow
