#include "src/cli/option_kv.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "src/cli/option_shared.h"

namespace winnow {
namespace {

constexpr const char* kGroup = "KV cache";
constexpr int64_t kMaxRows = std::numeric_limits<int32_t>::max();

/// Digits and a point alone: parse_number takes exponents, too.
std::optional<double> parse_decimal(std::string_view text) {
  if (text.find_first_not_of("0123456789.") != std::string_view::npos) return std::nullopt;
  return parse_number<double>(text);
}

/// 1024 for 'k', and so on; 0 for what is no unit of bytes.
double bytes_of_unit(char unit) {
  switch (unit) {
    case 'k':
    case 'K': return 0x1p10;
    case 'm':
    case 'M': return 0x1p20;
    case 'g':
    case 'G': return 0x1p30;
    default: return 0;
  }
}

/// A method's own numbers.
void add_policy_options(OptionSet& set, PolicyOptions& own) {
  set.add_number({"--kv-window", "N", "last queries that score rows (default the policy's own)"},
                 own.window, Range<int64_t>{1, kMaxQueries});
  set.add_value({"--kv-pool", "N", "odd: rows a score is pooled over (default the policy's own)"},
                [&own](const std::string& name, const std::string& value) {
                  const std::optional<int64_t> n = parse_number<int64_t>(value);
                  if (n && *n >= 1 && *n <= kMaxPool && *n % 2 == 1) {
                    own.pool = n;
                    return;
                  }
                  fail(ExitCode::kUsage, name, " must be an odd number from 1 to ", kMaxPool,
                       ", not ", quoted(value));
                });
  set.add_choice<std::optional<CutScope>>(
      {"--kv-cut", "", "one cut a list, a layer or the model (default the policy's own)"}, own.cut,
      {{"list", CutScope::kList}, {"layer", CutScope::kLayer}, {"model", CutScope::kModel}});
  set.add_choice<std::optional<ScoreTerms>>(
      {"--kv-terms", "", "laprox: what scores are made of (default output)"}, own.terms,
      {{"attention", ScoreTerms::kAttention},
       {"value", ScoreTerms::kValue},
       {"output", ScoreTerms::kOutput}});
  set.add_choice<std::optional<bool>>(
      {"--kv-normalize", "", "laprox: a layer's scores add up to 1 (default yes)"}, own.normalize,
      {{"yes", true}, {"no", false}});
  set.add_choice<std::optional<bool>>(
      {"--kv-pool-what", "", "laprox: pooled are scores, or attention alone (default score)"},
      own.pool_attention, {{"score", false}, {"attention", true}});
  set.add_number({"--kv-chunk", "N", "chunkkv: rows that stay together (default 10)"}, own.chunk,
                 Range<int64_t>{1, kMaxRows});
}

}  // namespace

KvBudget read_kv_budget(const std::string& name, const std::string& value) {
  const std::string_view number =
      std::string_view(value).substr(0, value.empty() ? 0 : value.size() - 1);
  const char unit = value.empty() ? '\0' : value.back();
  if (unit == '%') {
    const std::optional<double> percent = parse_decimal(number);
    if (percent && *percent > 0 && *percent <= 100) return {KvBudget::Unit::kPercent, *percent};
    fail(ExitCode::kUsage, name, " must be over 0% and at most 100%, not ", quoted(value));
  }
  if (const double factor = bytes_of_unit(unit); factor > 0) {
    const std::optional<int64_t> n = parse_number<int64_t>(number);
    if (n && *n > 0) return {KvBudget::Unit::kBytes, static_cast<double>(*n) * factor};
    fail(ExitCode::kUsage, name, " must be a whole number of K, M or G from 1, like 512M, not ",
         quoted(value));
  }
  const std::optional<int64_t> rows = parse_number<int64_t>(value);
  if (rows && *rows >= 1 && *rows <= kMaxRows) {
    return {KvBudget::Unit::kRows, static_cast<double>(*rows)};
  }
  fail(ExitCode::kUsage, name, " must be rows from 1 to ", kMaxRows,
       ", like 2048, or a part of the prompt, like 10%, or bytes, like 512M, not ", quoted(value));
}

void add_kv_options(OptionSet& set, KvOptions& kv) {
  set.begin_group(kGroup);
  Choices<std::string> policies;
  for (const std::string_view name : policy_names()) policies.emplace_back(name, name);
  set.add_choice({"--kv-policy", "", "which rows are kept of a prompt"}, kv.policy, policies);
  set.add_value({"--kv-budget", "N|P%|BYTES",
                 "rows a head, or 10% of the prompt, or 512M in all (default none)"},
                [&kv](const std::string& name, const std::string& value) {
                  kv.budget = read_kv_budget(name, value);
                });
  add_kv_details(set, kv);
}

void add_kv_details(OptionSet& set, KvOptions& kv) {
  set.begin_group(kGroup);
  set.add_number({"--kv-sink", "N", "first rows that are kept (default the policy's own)"}, kv.sink,
                 Range<int64_t>{0, kMaxRows});
  set.add_number({"--kv-recent", "N", "last rows that are kept, from 1 (default the policy's own)"},
                 kv.recent, Range<int64_t>{1, kMaxRows});
  set.add_choice<std::optional<Group>>(
      {"--kv-group", "", "a list a query head, or one for its group (default the policy's own)"},
      kv.group,
      {{"head", Group::kHead}, {"mean", Group::kMean}, {"max", Group::kMax}, {"sum", Group::kSum}});
  set.add_flag(
      {"--kv-fill", "", "longer lists where they share rows, up to the budget (default off)"},
      [&kv] { kv.fill = true; });
  set.add_number({"--kv-recompact", "N", "select anew every N generated tokens; 0: never"},
                 kv.recompact, Range<int64_t>{0, kMaxRows});
  const std::string reselect = "select anew after a later prompt, too (default ";
  const CLI::Option* const yes =
      set.add_flag({"--kv-reselect", "", reselect + (kv.reselect ? "on)" : "off)")},
                   [&kv] { kv.reselect = true; });
  if (kv.reselect) {
    set.exclude(yes, set.add_flag({"--no-kv-reselect", "", "later rows all stay (default off)"},
                                  [&kv] { kv.reselect = false; }));
  }
  set.add_choice({"--kv-positions", "", "rows' place in the text, or in the cache"},
                 kv.places_in_cache, {{"original", false}, {"cache", true}});
  add_policy_options(set, kv.policy_options);
  set.add_choice({"--prefill", "", "rows are dropped layer by layer, or chunk by chunk"}, kv.order,
                 {{"layer", PrefillOrder::kLayer},
                  {"chunk", PrefillOrder::kChunk},
                  {"chunk-patched", PrefillOrder::kPatched}});
  set.add_number({"--evict-chunk", "N", "tokens of a chunk"}, kv.evict_chunk,
                 Range<int64_t>{1, kMaxRows});
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

void add_kv_lists(OptionSet& set, std::vector<std::string>& policies,
                  std::vector<KvBudget>& budgets, const std::string& budget_default) {
  set.begin_group(kGroup);
  std::string all;
  for (const std::string& policy : policies) all += (all.empty() ? "" : ",") + policy;
  set.add_value({"--kv-policy", "LIST", "like full,sage (default " + all + ")"},
                [&policies](const std::string&, const std::string& value) {
                  policies = split_at_commas(value);
                });
  set.add_value({"--kv-budget", "LIST", "of each but full, like 128,512 or 10% " + budget_default},
                [&budgets](const std::string& name, const std::string& value) {
                  for (const std::string& part : split_at_commas(value)) {
                    budgets.push_back(read_kv_budget(name, part));
                  }
                });
}

namespace {

/// Of `details` what has a meaning for the method.
KvOptions meaningful(const KvOptions& details, const Policy& policy) {
  KvOptions method = keeps_every_row(policy) ? KvOptions{} : details;
  method.policy = policy.name();
  PolicyOptions& own = method.policy_options;
  own = details.policy_options;
  const OwnOptions has = policy.own_options();
  if (!has.window) own.window.reset();
  if (!has.pool) own.pool.reset();
  if (!has.laprox) {
    own.terms.reset();
    own.normalize.reset();
    own.pool_attention.reset();
  }
  if (!has.chunk) own.chunk.reset();
  const bool by_score = policy.decode_rule() == DecodeRule::kReplaceLeast;
  if (by_score) method.sink.reset();
  if (!policy.scores_rows() || by_score) own.cut.reset();
  if (!policy.scores_rows() || policy.scores_kv_heads()) method.group.reset();
  if (!method.group && policy.group() != Group::kHead) method.fill = false;
  if (!policy.scores_rows()) method.fill = false;
  if (policy.scores_rows() && !policy.drops_chunks()) method.order = PrefillOrder::kLayer;
  return method;
}

}  // namespace

std::vector<KvOptions> cross_methods(const std::vector<std::string>& policies,
                                     const std::vector<KvBudget>& budgets,
                                     const KvOptions& details) {
  std::vector<KvOptions> methods;
  for (const std::string& name : policies) {
    const auto policy = make_policy(name);
    if (!policy) {
      std::vector<std::string> known;
      for (const std::string_view word : policy_names()) known.emplace_back(word);
      fail(ExitCode::kUsage, "--kv-policy must be a list of ", join_words(known), ", not ",
           quoted(name));
    }
    if (std::ranges::count(policies, name) > 1) {
      fail(ExitCode::kUsage, "--kv-policy names ", name, " more than once");
    }
    KvOptions method = meaningful(details, *policy);
    if (name == "full" || budgets.empty()) {
      check_kv(method);
      methods.push_back(method);
      continue;
    }
    for (const KvBudget& budget : budgets) {
      method.budget = budget;
      check_kv(method);
      methods.push_back(method);
    }
  }
  return methods;
}

void add_cache_files(OptionSet& set, CacheOptions& cache) {
  set.begin_group(kGroup);
  const auto read_file = [](const std::string& name, const std::string& value) {
    refuse_empty(name, value);
    if (value == "-") fail(ExitCode::kUsage, name, " must be a file");
    return value;
  };
  set.add_value({"--cache-save", "FILE", "saves what was kept of the text (default none)"},
                [&cache, read_file](const std::string& name, const std::string& value) {
                  cache.save = read_file(name, value);
                });
  set.add_value({"--cache-load", "FILE", "goes on from a text that was saved (default none)"},
                [&set, &cache, read_file](const std::string& name, const std::string& value) {
                  cache.load = read_file(name, value);
                  for (const char* const option :
                       {"--kv-policy", "--kv-budget", "--kv-sink", "--kv-recent", "--kv-group",
                        "--kv-fill", "--kv-recompact", "--kv-reselect", "--kv-positions",
                        "--kv-window", "--kv-pool", "--kv-cut", "--kv-terms", "--kv-normalize",
                        "--kv-pool-what", "--kv-chunk", "--prefill", "--evict-chunk"}) {
                    if (set.given(option)) cache.kv_given.push_back(option);
                  }
                });
}

void add_then(OptionSet& set, GenerateOptions& options) {
  set.begin_group(kGroup);
  set.add_value({"--then", "TEXT", "a second text, read over what was kept (default none)"},
                [&options](const std::string& name, const std::string& value) {
                  refuse_empty(name, value);
                  options.then_prompt = value;
                });
}

void add_kv_views(OptionSet& set, GenerateOptions& options) {
  set.begin_group(kGroup);
  set.add_flag({"--kv-show", "", "what was kept of the prompt, on stderr (default off)"},
               [&options] { options.kv_show = true; });
  add_result(set, {"--kv-map", "FILE.html", "the same as a page (default none)"}, options.kv_map);
  add_result(set, {"--kv-dump", "FILE.json", "the same for programs (default none)"},
             options.kv_dump);
}

}  // namespace winnow
