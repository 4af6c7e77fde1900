// winnow generate: a prompt in, its continuation out.
#include "src/generate.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "src/cli/interrupt.h"
#include "src/cli/prompt.h"
#include "src/commands/cache_files.h"
#include "src/commands/commands.h"
#include "src/commands/generate_output.h"
#include "src/commands/kept_output.h"
#include "src/commands/sampling.h"
#include "src/commands/session.h"
#include "src/commands/watching.h"
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

/// `before`: the text that the prompts are read after. Fails with kPrompt where the prompts alone
/// are longer than the context.
GenerateRequest make_request(const GenerateOptions& options, const ModelFiles& files,
                             const Prompts& prompts, std::vector<int32_t> before, int64_t context) {
  GenerateRequest request;
  request.before = std::move(before);
  if (request.before.empty()) {
    request.prompt = encode_prompt(*files.tokenizer, prompts.first, options.bos);
  } else if (!prompts.first.empty()) {
    request.prompt = encode_prompt(*files.tokenizer, prompts.first, BosMode::kNo);
  }
  if (!prompts.then.empty()) {
    request.then = encode_prompt(*files.tokenizer, prompts.then, BosMode::kNo);
  }
  const auto n_prompt =
      std::ssize(request.before) + std::ssize(request.prompt) + std::ssize(request.then);
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
  request.text_before = !request.before.empty() || !prompts.first.empty() || !prompts.then.empty();
  return request;
}

/// Plans the memory of the text so far, the prompts and what follows them.
RunShape make_shape(const GenerateOptions& options, const ModelFiles& files,
                    const GenerateRequest& request, const KvStart& start, const Device& device,
                    int64_t context, const Console& console) {
  std::vector<int64_t> prompts;
  for (const auto* prompt : {&request.prompt, &request.then}) {
    if (!prompt->empty()) prompts.push_back(std::ssize(*prompt));
  }
  const int64_t n_prompt = std::reduce(prompts.begin(), prompts.end(), start.position);
  RunShape shape{.capacity = std::min(context, n_prompt + request.max_tokens),
                 .prompt_tokens = prompts.empty() ? 1 : *std::ranges::max_element(prompts),
                 .prefill_rows = options.compute.prefill_rows};
  plan_kv_rows(options.kv, files, device, prompts, shape, console, start);
  return shape;
}

/// What the run goes on from; nothing where it begins a text. Its settings become those of
/// `options`.
std::optional<LoadedCache> load_cache(GenerateOptions& options, const ModelFiles& files,
                                      int64_t context) {
  if (options.cache.load.empty()) return std::nullopt;
  LoadedCache loaded(options.cache, options.kv, files, context);
  options.kv = loaded.kv();
  return loaded;
}

/// All tokens that were read before the first is drawn.
std::vector<int32_t> text_of(const GenerateRequest& request) {
  std::vector<int32_t> text;
  for (const auto* part : {&request.before, &request.prompt, &request.then}) {
    text.insert(text.end(), part->begin(), part->end());
  }
  return text;
}

ExitCode exit_code(StopReason reason) {
  if (reason != StopReason::kInterrupt) return ExitCode::kOk;
  return static_cast<ExitCode>(128 + interrupt_signal());
}

/// Where the results go.
struct Results {
  Printer& printer;
  KeptOutput& kept;
  const std::optional<DumpPlace>& dump;
  std::function<void()> save;  // does nothing where nothing is saved
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
    hooks.layer_rows = [&](const LayerRows& layer) {
      LayerDump(*results.dump).write(device, layer);
    };
  }
  hooks.prompt_read = [&] {
    progress.erase();
    results.save();
    results.kept.show(*files.tokenizer, request, sequence, console);
  };
  hooks.token = [&](const GeneratedToken& token) { results.printer.token(token); };
  hooks.rest = [&](const std::string& rest) { results.printer.rest(rest); };
  Generation result = generate(sequence, *files.tokenizer, request, hooks);
  progress.erase();
  return result;
}

}  // namespace

ExitCode run_generate(const GenerateOptions& asked) {
  GenerateOptions options = asked;
  const Console console(options.model);
  const ModelFiles files = noted(open_model(options.model.dir), console);
  const Prompts prompts = read_prompts(options, console);
  const int64_t context = context_size(files.config, options.compute.context, console);
  std::optional<LoadedCache> loaded = load_cache(options, files, context);
  GenerateRequest request = make_request(
      options, files, prompts, loaded ? loaded->tokens() : std::vector<int32_t>(), context);
  const KvStart start = loaded ? loaded->start() : KvStart{};
  const std::optional<DumpPlace> dump = open_dump(options.dump, files.config);
  Watching watching(options.profile);
  watching.dump_to(dump);
  auto device = open_device(files, options.compute, console, watching.observers());
  WatchedDevice& watched = *device;
  if (loaded) loaded->check_device(*device);
  request.sampler = settle_sampler(options.sampler, options.seed, files.config.sampling, console);
  // Also a seed that was drawn: told, it repeats the whole run.
  if (!loaded) options.kv.policy_options.seed = request.sampler.seed;
  const RunShape shape = make_shape(options, files, request, start, *device, context, console);
  Printer printer(options, *files.tokenizer);
  KeptOutput kept(options);
  std::optional<CacheSaver> saver;
  if (!options.cache.save.empty()) saver.emplace(options.cache.save, shape.kv);
  const Model model = load_with_progress(files, std::move(device), options.model, shape, console);
  Sequence sequence(
      model.network(),
      {.capacity = shape.capacity, .prefill_rows = shape.prefill_rows, .kv = shape.kv});
  if (loaded) loaded->restore(sequence, *model.device);
  printer.start(prompts.first + prompts.then);
  std::optional<CacheFileRecord> saved;
  const auto save = [&] {
    if (!saver) return;
    const int64_t first = loaded ? start.first_prompt : std::ssize(request.prompt);
    saved = saver->save(sequence, model, files, options.kv, first, text_of(request));
  };
  const Generation result =
      run(options, files, request, sequence, *model.device, console, {printer, kept, dump, save});
  RunRecord record{files, model, sequence, options, request, result};
  if (loaded) record.loaded = loaded->record();
  record.saved = saved;
  watching.finish(watched);
  printer.finish(record);
  print_summary(console, record);
  return exit_code(result.stop_reason);
}

}  // namespace winnow
