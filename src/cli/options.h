// The command line as plain values: one struct a command. No field refers to another; what was not
// given has the default that is written here and that --help prints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "src/cli/progress.h"
#include "src/eval/settings.h"
#include "src/kv/settings.h"
#include "src/sampler.h"
#include "src/watch/phase.h"

namespace winnow {

enum class ColorMode { kAuto, kAlways, kNever };  // kAuto: where stderr is a terminal
enum class DeviceChoice { kAuto, kCpu, kCuda };   // kAuto: the GPU where there is one
enum class BosMode { kAuto, kYes, kNo };          // kAuto: by the model's custom
enum class Format { kText, kMarkdown, kCsv, kJson, kJsonl };

/// Of every command: which model, and what is said on stderr.
struct ModelOptions {
  std::filesystem::path dir;
  int verbosity = 0;  // -1 quiet, 0, 1 (-v), 2 (-vv)
  ColorMode color = ColorMode::kAuto;
  ProgressMode progress = ProgressMode::kAuto;
};

/// Of the commands that run the network.
struct ComputeOptions {
  DeviceChoice device = DeviceChoice::kAuto;
  int32_t threads = 0;       // 0: all cores
  int64_t context = 0;       // tokens, prompt included; 0: the model's own
  int64_t prefill_rows = 0;  // rows at once inside a layer; 0: the device's own
  bool graph = true;         // a GPU replays the decode step as one graph
  bool fuse = true;          // a GPU's decode steps are one kernel each where that pays
};

/// Where a text comes from.
struct TextSource {
  enum class Kind { kStdin, kText, kFile };
  Kind kind = Kind::kStdin;
  std::string value;  // the text, or the file's path; of stdin "-" where it was asked for
};

/// Where a result goes, and how it looks.
struct OutputOptions {
  Format format = Format::kText;
  std::filesystem::path file;  // empty: stdout
};

/// What the user says about drawing; the rest is as the model's makers would have it, or greedy.
struct SamplerFlags {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repeat_penalty;
};

/// A text that was read, kept on disk.
struct CacheOptions {
  std::filesystem::path load;         // the run goes on from it; empty: from nothing
  std::filesystem::path save;         // where it goes once the prompts are read; empty: nowhere
  std::vector<std::string> kv_given;  // with `load`: the --kv options that must be the file's
};

/// For whoever wants to see what a run does.
struct ProfileOptions {
  std::filesystem::path trace;  // .json: a timeline; empty: none
  std::optional<Phase> range;   // where profilers of CUDA look, if told to; nothing: nowhere
};

/// Intermediate results as files.
struct DumpOptions {
  std::filesystem::path dir;    // empty: nowhere
  std::vector<int32_t> layers;  // none is negative; empty: all
};

struct GenerateOptions {
  ModelOptions model;
  ComputeOptions compute;
  TextSource prompt;
  std::optional<std::string> then_prompt;  // read after it, over what was kept; never empty
  BosMode bos = BosMode::kAuto;            // of `prompt`
  bool strict_utf8 = false;                // invalid UTF-8 in the prompt is an error

  int64_t max_tokens = 256;  // -1: until EOS or the end of the context
  SamplerFlags sampler;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop_strings;  // none is empty
  bool ignore_eos = false;

  KvOptions kv;          // passes check_kv; its seed is the one above, or 0
  CacheOptions cache;    // where one is loaded, `kv` is unchecked, and the prompt may be empty
  bool kv_show = false;  // the prompt in the terminal, shaded by what was kept of it
  std::filesystem::path kv_map;   // .html of the same; empty: none
  std::filesystem::path kv_dump;  // .json: positions and masks; empty: none

  DumpOptions dump;
  ProfileOptions profile;

  bool echo = false;                // the prompt comes before the generated text
  std::optional<int32_t> logprobs;  // alternatives listed for each token, 0..20; JSON formats only
  OutputOptions output;             // text, json, jsonl
};

struct ChatOptions {
  ModelOptions model;
  ComputeOptions compute;
  std::optional<std::string> system;  // valid UTF-8; none: the frame's own, if it has one
  std::string frame;                  // its name; empty: the one of the model's chat template

  int64_t max_tokens = 1024;  // of a reply; -1: until it ends or the context does
  SamplerFlags sampler;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop_strings;  // none is empty

  KvOptions kv = {.reselect = true};  // passes check_kv; its seed is the one above, or 0
};

struct TokenizeOptions {
  ModelOptions model;
  TextSource text;
  BosMode bos = BosMode::kNo;
  OutputOptions output;  // text, json
};

struct InspectOptions {
  ModelOptions model;
  int64_t context = 0;            // tokens that the memory plan is for; 0: the model's own
  Format format = Format::kText;  // text, json
};

struct CheckOptions {
  ModelOptions model;
};

struct LogitsOptions {
  ModelOptions model;
  ComputeOptions compute;
  std::vector<int32_t> ids;  // none is negative; empty: the tokens of `prompt`
  TextSource prompt;
  BosMode bos = BosMode::kAuto;  // of `prompt`; ids are used as they are
  std::filesystem::path file;    // .npy
  DumpOptions dump;
};

struct BenchOptions {
  ModelOptions model;
  ComputeOptions compute;
  std::vector<int64_t> prompt_tokens = {512};     // prefill tests; none is 0
  std::vector<int64_t> generated_tokens = {128};  // decode tests; none is 0
  std::vector<int64_t> depths = {0};              // tokens in the cache before
  int32_t repetitions = 5;
  std::vector<std::string> kernels;  // instead of whole passes: steps of a device, by name
  bool kernel_table = false;         // whole passes, taken apart into what ran in them
  ProfileOptions profile;            // of whole passes
  std::filesystem::path shape_file;  // with random_weights: what is timed instead of a model
  bool random_weights = false;
  std::vector<std::string> policies = {"full"};
  std::vector<KvBudget> budgets;  // of each policy but full
  KvOptions kv;                   // the rest, where it has a meaning for a policy
  OutputOptions output;
};

enum class EvalKind { kNeedle, kTasks, kPerplexity };

struct EvalOptions {
  ModelOptions model;
  ComputeOptions compute;
  EvalKind kind = EvalKind::kNeedle;

  std::filesystem::path haystack;  // needle: the text to hide in
  std::filesystem::path words;     // needle: what keys and values are made of; empty: English
  std::vector<int64_t> lengths = {4096};  // needle: tokens of a prompt; ascending, each once
  NeedleOptions needle;                   // its seed, question and BOS are the ones below

  std::filesystem::path tasks;  // tasks: the file
  bool truncate = false;        // tasks: prompts that do not fit lose their middle

  std::filesystem::path text;    // ppl: the file
  PerplexityOptions perplexity;  // ppl: its BOS is the one below
  int64_t stride = 0;            // ppl: tokens from window to window; 0: as many as are scored

  int64_t samples = 40;  // needle: of each length; tasks and ppl: at most
  QuestionSeen question = QuestionSeen::kBefore;
  BosMode bos = BosMode::kAuto;
  uint64_t seed = 1;
  std::vector<std::string> policies = {"full", "sage", "streaming", "random"};
  std::vector<KvBudget> budgets;  // of each policy but full
  KvOptions kv;                   // the rest, where it has a meaning for a policy

  OutputOptions output;                  // text, md, csv, json, jsonl
  std::filesystem::path predictions;     // .jsonl: every answer; empty: nowhere
  std::filesystem::path heat_map;        // .svg: accuracy by depth and length; empty: none
  std::filesystem::path plot;            // .svg: accuracy by budget; empty: none
  std::filesystem::path plot_footprint;  // .svg: the same by KV footprint
  std::filesystem::path plot_peak;       // .svg: the same by the most bytes held
};

using CommandLine = std::variant<GenerateOptions, ChatOptions, TokenizeOptions, InspectOptions,
                                 CheckOptions, LogitsOptions, BenchOptions, EvalOptions>;

/// Every policy with every budget; full once. Each passes check_kv and has the evaluation's seed,
/// or 0. Fails like check_kv.
std::vector<KvOptions> eval_methods(const EvalOptions& options);
std::vector<KvOptions> bench_methods(const BenchOptions& options);

/// The command and its options. Nothing after --help or --version, whose text was written to
/// stdout. Options may stand before and after the command's name. Fails with kUsage for whatever is
/// unknown, missing, out of range, given twice or in conflict, and with kIo where stdout cannot be
/// written.
std::optional<CommandLine> parse_command_line(int argc, const char* const* argv);

}  // namespace winnow
