#include "src/cli/option_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>

#include "src/cli/option_bench.h"
#include "src/cli/option_chat.h"
#include "src/cli/option_eval.h"
#include "src/cli/option_kv.h"
#include "src/cli/option_profile.h"
#include "src/cli/option_set.h"
#include "src/cli/option_shared.h"

namespace winnow {
namespace {

constexpr int32_t kMaxInt32 = std::numeric_limits<int32_t>::max();

// generate

void add_prompt_options(OptionSet& set, GenerateOptions& options) {
  add_source(set, options.prompt);
  add_bos(set, options.bos);
  set.add_flag({"--strict-utf8", "", "refuse a text that is not valid UTF-8 (default off)"},
               [&options] { options.strict_utf8 = true; });
}

void add_generate_options(OptionSet& set, GenerateOptions& options) {
  add_prompt_options(set, options);
  set.begin_group("Length and end");
  add_max_tokens(set, options.max_tokens);
  add_context(set, options.compute.context);
  add_stop_strings(set, options.stop_strings);
  set.add_flag({"--ignore-eos", "", "go on after a token that ends the text (default off)"},
               [&options] { options.ignore_eos = true; });
  add_sampler_options(set, options.sampler, options.seed);
  add_kv_options(set, options.kv);
  add_kv_heads(set, options.kv.heads);
  add_then(set, options);
  add_cache_files(set, options.cache);
  add_kv_views(set, options);
  add_output(set, options.output,
             {{"text", Format::kText}, {"json", Format::kJson}, {"jsonl", Format::kJsonl}});
  set.add_flag({"--echo", "", "the prompt, too, before the text (default off)"},
               [&options] { options.echo = true; });
  set.add_number({"--logprobs", "K", "log probabilities, K others a token, 0 to 20 (default off)"},
                 options.logprobs, Range<int32_t>{0, 20});
  add_compute_options(set, options.compute);
  add_dump_options(set, options.dump);
  add_profile_options(set, options.profile);
}

void check_generate(GenerateOptions& options) {
  if (options.logprobs && options.output.format == Format::kText) {
    fail(ExitCode::kUsage, "--logprobs needs --json or --jsonl");
  }
  check_dump(options.dump, options.compute);
  const bool drops = options.kv.policy != "full" || !options.cache.load.empty();
  check_profile(options.profile, options.compute,
                {.decode = options.max_tokens != 0, .compact = drops});
  options.kv.policy_options.seed = options.seed.value_or(0);
  if (!options.cache.save.empty() && !options.kv.heads.file.empty()) {
    fail(ExitCode::kUsage, "--cache-save does not go with --kv-heads: a file has no place for it");
  }
  if (options.cache.load.empty()) return check_kv(options.kv);
  if (options.bos == BosMode::kYes) {
    fail(ExitCode::kUsage, "--bos yes has no meaning with --cache-load: the text has begun");
  }
  // stdin is read where it was asked for.
  const bool asked =
      options.prompt.kind != TextSource::Kind::kStdin || !options.prompt.value.empty();
  if (!asked) options.prompt = {TextSource::Kind::kText, ""};
}

// tokenize and inspect

void add_tokenize_options(OptionSet& set, TokenizeOptions& options) {
  add_source(set, options.text);
  add_bos(set, options.bos);
  add_output(set, options.output, {{"text", Format::kText}, {"json", Format::kJson}});
}

void add_inspect_options(OptionSet& set, InspectOptions& options) {
  set.begin_group("Result");
  add_context(set, options.context);
  add_format(set, options.format, {{"text", Format::kText}, {"json", Format::kJson}});
}

// logits

void add_logits_options(OptionSet& set, LogitsOptions& options) {
  const SourceOptions source = add_source(set, options.prompt);
  const CLI::Option* const bos = add_bos(set, options.bos);
  const CLI::Option* const ids =
      set.add_numbers({"--ids", "LIST", "token ids, like 1,2,3, instead of a text (default none)"},
                      options.ids, Range<int32_t>{0, kMaxInt32});
  for (const CLI::Option* const other : {source.text, source.file, bos}) set.exclude(ids, other);
  add_context(set, options.compute.context);
  set.begin_group("Result");
  set.add_path({"-o,--output", "FILE.npy", "float32 [tokens, vocab] (required)"}, options.file);
  add_compute_options(set, options.compute);
  add_dump_options(set, options.dump);
}

void check_logits(LogitsOptions& options) {
  check_dump(options.dump, options.compute);
  if (options.file.empty()) fail(ExitCode::kUsage, "'winnow logits' needs a result file: -o FILE");
  if (options.file == "-") fail(ExitCode::kUsage, "--output of 'winnow logits' must be a file");
}

/// bench may time a shape.
bool runs_without_model(const BenchOptions& options) {
  return options.random_weights;
}
bool runs_without_model(const auto& /*options*/) {
  return false;
}

/// A command whose finish() holds its options and their readers.
template <class Options, class AddOptions, class Check>
Command make_command(CLI::App& root, const char* name, const char* help, AddOptions add_options,
                     Check check) {
  CLI::App* const app = root.add_subcommand(name, help);
  app->group("Commands");
  const auto options = std::make_shared<Options>();
  const auto set = std::make_shared<OptionSet>(*app);
  add_model_options(*set, options->model);
  add_options(*set, *options);
  Command command;
  command.app = app;
  command.finish = [name, options, set, check]() -> CommandLine {
    set->read();
    if (options->model.dir.empty() && !runs_without_model(*options)) {
      fail(ExitCode::kUsage, "'winnow ", name, "' needs a model: -m DIR");
    }
    check(*options);
    return *options;
  };
  if constexpr (std::is_same_v<Options, EvalOptions>) {
    command.take_words = [options](const std::vector<std::string>& words) {
      take_eval_words(words, *options);
    };
  }
  return command;
}

}  // namespace

std::vector<Command> add_commands(CLI::App& root) {
  const auto no_options = [](OptionSet&, auto&) {};
  const auto no_check = [](const auto&) {};
  return {
      make_command<GenerateOptions>(root, "generate", "Continues a text.", add_generate_options,
                                    check_generate),
      make_command<ChatOptions>(root, "chat", "Talks with a model, turn by turn.", add_chat_options,
                                check_chat),
      make_command<TokenizeOptions>(root, "tokenize", "Shows the tokens of a text.",
                                    add_tokenize_options, no_check),
      make_command<InspectOptions>(root, "inspect",
                                   "Shows a model's configuration, tensors and memory plan.",
                                   add_inspect_options, no_check),
      make_command<CheckOptions>(root, "check", "Tells whether a model directory is sound.",
                                 no_options, no_check),
      make_command<LogitsOptions>(root, "logits", "Writes the logits after each token of a text.",
                                  add_logits_options, check_logits),
      make_command<BenchOptions>(root, "bench", bench_summary().c_str(), add_bench_options,
                                 check_bench),
      make_command<EvalOptions>(root, "eval", kEvalSummary, add_eval_options, check_eval),
  };
}

}  // namespace winnow
