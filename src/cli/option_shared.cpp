#include "src/cli/option_shared.h"

#include <algorithm>
#include <limits>

namespace winnow {

void add_model_options(OptionSet& set, ModelOptions& model) {
  set.begin_group("Model and messages");
  set.add_path({"-m,--model", "DIR", "model directory, as Hugging Face lays it out (required)"},
               model.dir);
  const CLI::Option* const quiet =
      set.add_flag({"-q,--quiet", "", "only errors on stderr (default off)"},
                   [&model] { model.verbosity = -1; });
  const CLI::Option* const verbose =
      set.add_flags({"-v,--verbose", "", "say more on stderr; -vv: still more (default off)"},
                    [&model] { model.verbosity = std::min(model.verbosity + 1, 2); });
  set.exclude(quiet, verbose);
  set.add_choice(
      {"--color", "", "colors on stderr"}, model.color,
      {{"auto", ColorMode::kAuto}, {"always", ColorMode::kAlways}, {"never", ColorMode::kNever}});
  set.add_choice({"--progress", "", "progress bars on stderr"}, model.progress,
                 {{"auto", ProgressMode::kAuto},
                  {"always", ProgressMode::kAlways},
                  {"never", ProgressMode::kNever}});
}

void add_compute_options(OptionSet& set, ComputeOptions& compute) {
  set.begin_group("Computation");
  set.add_choice(
      {"--device", "", "auto: the GPU where there is one"}, compute.device,
      {{"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"cuda", DeviceChoice::kCuda}});
  set.add_value({"--threads", "N", "CPU threads, 1 to 1024 (default all cores)"},
                [&compute](const std::string& name, const std::string& value) {
                  compute.threads = read_number(name, value, Range<int32_t>{1, 1024});
                });
  set.add_number({"--prefill-rows", "N", "prompt rows at once inside a layer; 0: device's own"},
                 compute.prefill_rows, kCounts);
  set.add_flag({"--no-graph", "", "launch a GPU's decode steps one by one (default off)"},
               [&compute] { compute.graph = false; });
  set.add_flag({"--no-fuse", "", "take each operation of a GPU's decode steps apart (default off)"},
               [&compute] { compute.fuse = false; });
}

void add_context(OptionSet& set, int64_t& context) {
  set.add_number({"-c,--ctx-size", "N", "context in tokens, prompt included; 0: model's own"},
                 context, kCounts);
}

SourceOptions add_source(OptionSet& set, TextSource& source) {
  set.begin_group("Text");
  const CLI::Option* const text =
      set.add_value({"-p,--prompt", "TEXT", "the text itself (default: stdin is read)"},
                    [&source](const std::string&, const std::string& value) {
                      source = {TextSource::Kind::kText, value};
                    });
  const CLI::Option* const file = set.add_value(
      {"-f,--file", "FILE", "file that holds the text; -: stdin (default: stdin is read)"},
      [&source](const std::string& name, const std::string& value) {
        refuse_empty(name, value);
        const bool stdin_asked = value == "-";
        source = {stdin_asked ? TextSource::Kind::kStdin : TextSource::Kind::kFile, value};
      });
  set.exclude(text, file);
  return {text, file};
}

const CLI::Option* add_bos(OptionSet& set, BosMode& bos) {
  return set.add_choice({"--bos", "", "whether BOS opens the text; auto: as the model wants"}, bos,
                        {{"auto", BosMode::kAuto}, {"yes", BosMode::kYes}, {"no", BosMode::kNo}});
}

/// --format, and its short forms --json and --jsonl where the command has these formats.
void add_format(OptionSet& set, Format& field, const Choices<Format>& formats) {
  std::vector<const CLI::Option*> all = {
      set.add_choice({"--format", "", "how the result looks"}, field, formats)};
  for (const auto& [word, format] : formats) {
    if (format != Format::kJson && format != Format::kJsonl) continue;
    const CLI::Option* const flag =
        set.add_flag({"--" + word, "", "short for --format " + word + " (default off)"},
                     [&field, chosen = format] { field = chosen; });
    for (const CLI::Option* const other : all) set.exclude(other, flag);
    all.push_back(flag);
  }
}

void add_output(OptionSet& set, OutputOptions& output, const Choices<Format>& formats) {
  set.begin_group("Result");
  add_format(set, output.format, formats);
  set.add_value({"-o,--output", "FILE", "where the result goes; -: stdout (default stdout)"},
                [&output](const std::string& name, const std::string& value) {
                  refuse_empty(name, value);
                  if (value != "-") output.file = value;
                });
}

void add_result(OptionSet& set, const OptionText& text, std::filesystem::path& field) {
  set.add_value(text, [&field](const std::string& name, const std::string& value) {
    refuse_empty(name, value);
    if (value == "-") fail(ExitCode::kUsage, name, " must be a file");
    field = value;
  });
}

Choices<Format> table_formats() {
  return {{"text", Format::kText},
          {"md", Format::kMarkdown},
          {"csv", Format::kCsv},
          {"json", Format::kJson},
          {"jsonl", Format::kJsonl}};
}

}  // namespace winnow
