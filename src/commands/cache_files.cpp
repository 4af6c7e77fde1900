#include "src/commands/cache_files.h"

#include <chrono>
#include <cstdio>
#include <string_view>
#include <utility>

#include "src/base/error.h"
#include "src/cli/interrupt.h"
#include "src/saved_sequence.h"
#include "weights/fingerprint.h"

namespace winnow {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::string hexadecimal(uint64_t number) {
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(number));
  return digits;
}

CacheFileRecord record_of(const std::filesystem::path& file, uint64_t bytes,
                          const CacheContents& contents, Clock::time_point start) {
  return {.file = file.string(),
          .bytes = bytes,
          .rows = std::ssize(contents.state.position),
          .tokens = contents.tokens.size(),
          .tokens_hash = hexadecimal(tokens_hash(contents.tokens)),
          .ms = ms_since(start)};
}

std::string number_or_own(const std::optional<int64_t>& number) {
  return number ? " " + std::to_string(*number) : " of the policy's own";
}

std::string group_text(const std::optional<Group>& group) {
  if (!group) return " of the policy's own";
  switch (*group) {
    case Group::kHead: return " head";
    case Group::kMean: return " mean";
    case Group::kMax: return " max";
    case Group::kSum: return " sum";
  }
  return "";
}

/// What an option of cache_option_names() says in `kv`, after its name.
std::string option_text(std::string_view name, const KvOptions& kv) {
  if (name == "--kv-policy") return " " + kv.policy;
  if (name == "--kv-budget") return kv.budget ? " " + budget_text(*kv.budget) : " of no size";
  if (name == "--kv-sink") return number_or_own(kv.sink);
  if (name == "--kv-recent") return number_or_own(kv.recent);
  if (name == "--kv-group") return group_text(kv.group);
  if (name == "--kv-recompact") return " " + std::to_string(kv.recompact);
  if (name == "--kv-positions") return kv.places_in_cache ? " cache" : " original";
  const bool on = name == "--kv-fill" ? kv.fill : kv.reselect;
  return on ? " on" : " off";
}

/// Rows that were chosen cannot be chosen again: what was given must be what was saved.
void check_options(const CacheOptions& options, const KvOptions& given, const KvOptions& saved) {
  for (const std::string& name : options.kv_given) {
    const std::string wanted = option_text(name, given);
    const std::string is = option_text(name, saved);
    if (wanted == is) continue;
    fail(ExitCode::kUsage, name, wanted, " contradicts --cache-load ", options.load.string(),
         ", which was saved with ", name, is);
  }
}

void check_number(const std::string& file, const char* what, int64_t found, int64_t expected) {
  if (found == expected) return;
  fail(ExitCode::kModel, file, ": is of another model: ", what, " is ", found,
       ", and this one's is ", expected);
}

/// Shapes first, which can be named.
void check_model(const CacheContents& outline, const ModelFiles& files, const std::string& file) {
  const ModelConfig& c = files.config;
  check_number(file, "num_hidden_layers", outline.n_layers, c.n_layers);
  check_number(file, "num_key_value_heads", outline.n_kv_heads, c.n_kv_heads);
  check_number(file, "query heads of a KV head", outline.group, c.group());
  check_number(file, "head_dim", outline.head_dim, c.head_dim);
  check_number(file, "vocab_size", outline.vocab_size, c.vocab_size);
  if (outline.model.config != config_fingerprint(files.dir)) {
    fail(ExitCode::kModel, file, ": is of another model: its config.json was another than ",
         (files.dir / "config.json").string());
  }
  if (outline.model.weights != weights_fingerprint(files.checkpoint)) {
    fail(ExitCode::kModel, file, ": is of another model: its weights were others than those in ",
         files.dir.string());
  }
}

}  // namespace

LoadedCache::LoadedCache(const CacheOptions& options, const KvOptions& kv, const ModelFiles& files,
                         int64_t context)
    : file_(CacheFile::open(options.load)), contents_(file_.outline()) {
  const Clock::time_point start = Clock::now();
  check_options(options, kv, contents_.kv);
  check_model(contents_, files, file_.name());
  if (contents_.state.next_position > context) {
    fail(ExitCode::kPrompt, file_.name(),
         ": its text does not fit: ", contents_.state.next_position,
         " tokens, and the context holds ", context);
  }
  contents_ = file_.read_tables();
  cache_settings(contents_, files.config, file_.name());
  file_.check_rows(contents_, check_interrupt);
  record_ = record_of(options.load, file_.file().size(), contents_, start);
}

void LoadedCache::check_device(const Device& device) const {
  if (device.compute_type() == contents_.type) return;
  fail(ExitCode::kModel, file_.name(), ": has K/V rows of ", dtype_name(contents_.type), ", and ",
       device.name(), " computes in ", dtype_name(device.compute_type()));
}

KvStart LoadedCache::start() const {
  return {.first_prompt = contents_.first_prompt,
          .position = contents_.state.next_position,
          .rows = contents_.most_rows(),
          .winnowed = contents_.winnowed()};
}

void LoadedCache::restore(Sequence& sequence, Device& device) {
  const Clock::time_point start = Clock::now();
  load_sequence(file_, contents_, sequence, device, check_interrupt);
  contents_.state = {};
  record_.ms += ms_since(start);
}

CacheSaver::CacheSaver(const std::filesystem::path& path, const KvSettings& kv) : file_(path) {
  if (!kv.extras().scores) return;
  fail(ExitCode::kUsage, "--cache-save does not go with --kv-policy ", kv.policy->name(),
       ": a cache file holds no scores");
}

CacheFileRecord CacheSaver::save(const Sequence& sequence, const Model& model,
                                 const ModelFiles& files, const KvOptions& kv, int64_t first_prompt,
                                 std::vector<int32_t> tokens) {
  const Clock::time_point start = Clock::now();
  const TextOrigin origin = {.model = {.config = config_fingerprint(files.dir),
                                       .weights = weights_fingerprint(files.checkpoint)},
                             .kv = kv,
                             .first_prompt = first_prompt,
                             .tokens = std::move(tokens)};
  const CacheContents contents =
      save_sequence(sequence, model.network(), origin, file_, check_interrupt);
  file_.commit();
  return record_of(file_.path(), std::filesystem::file_size(file_.path()), contents, start);
}

}  // namespace winnow
