// Options that several commands share.
#pragma once

#include <cstdint>
#include <limits>

#include "src/cli/option_set.h"
#include "src/cli/options.h"

namespace winnow {

constexpr Range<int64_t> kCounts{0, std::numeric_limits<int32_t>::max()};  // tokens, rows

/// -m, -q, -v, --color, --progress.
void add_model_options(OptionSet& set, ModelOptions& model);

/// --device, --threads, --prefill-rows, --no-graph, --no-fuse.
void add_compute_options(OptionSet& set, ComputeOptions& compute);

/// -c.
void add_context(OptionSet& set, int64_t& context);

/// -n.
void add_max_tokens(OptionSet& set, int64_t& max_tokens);

/// --stop.
void add_stop_strings(OptionSet& set, std::vector<std::string>& stop_strings);

/// --temp, --top-k, --top-p, --min-p, --repeat-penalty, --seed.
void add_sampler_options(OptionSet& set, SamplerFlags& sampler, std::optional<uint64_t>& seed);

/// Fails with kUsage where `value` is not valid UTF-8.
void refuse_invalid_utf8(const std::string& name, const std::string& value);

/// -p and -f, of which one may be given.
struct SourceOptions {
  const CLI::Option* text;
  const CLI::Option* file;
};
SourceOptions add_source(OptionSet& set, TextSource& source);

/// --bos.
const CLI::Option* add_bos(OptionSet& set, BosMode& bos);

/// --format, and its short forms --json and --jsonl where the command has these formats.
void add_format(OptionSet& set, Format& field, const Choices<Format>& formats);

/// The same and -o.
void add_output(OptionSet& set, OutputOptions& output, const Choices<Format>& formats);

/// A file beside the result, which has stdout.
void add_result(OptionSet& set, const OptionText& text, std::filesystem::path& field);

/// The formats of commands whose result is a table.
Choices<Format> table_formats();

}  // namespace winnow
