#include "src/kv/settings.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "src/base/error.h"
#include "src/base/format_bytes.h"
#include "src/kv/store.h"

namespace winnow {
namespace {

/// Rows are counted in 32 bits; no text is longer.
constexpr int64_t kMaxRows = std::numeric_limits<int32_t>::max();

/// Percentages count to the millionth, in whole numbers: 2.01% of 10,000 tokens is 201 rows.
constexpr int64_t kMillion = 1'000'000;

std::string decimal(double x) {
  std::ostringstream text;
  text << std::setprecision(12) << x;
  return text.str();
}

int64_t percent_rows(double percent, int64_t prompt_tokens) {
  const int64_t millionths = std::llround(percent * kMillion);
  const int64_t rows = prompt_tokens * millionths / (100 * kMillion);
  if (rows > 0) return rows;
  const int64_t tokens = std::max<int64_t>(prompt_tokens, 1);
  const int64_t least = (100 * kMillion + tokens - 1) / tokens;
  fail(ExitCode::kUsage, "--kv-budget ", decimal(percent), "% of a prompt of ", prompt_tokens,
       prompt_tokens == 1 ? " token" : " tokens", " is less than one row: at least ",
       decimal(static_cast<double>(least) / kMillion), "%");
}

int64_t byte_rows(const KvBudget& budget, const ModelConfig& config, DType type) {
  const auto heads = static_cast<uint64_t>(config.n_layers * config.n_kv_heads);
  const uint64_t row = heads * KvStore::row_bytes(config, type);
  const double rows = std::floor(budget.amount / static_cast<double>(row));
  if (rows >= 1) return static_cast<int64_t>(std::min(rows, static_cast<double>(kMaxRows)));
  fail(ExitCode::kUsage, "--kv-budget ", budget_text(budget), " is less than one row for each of ",
       config.n_layers, " layers x ", config.n_kv_heads, " KV heads, which takes ",
       format_bytes(row), ": at least ", (row + 1023) / 1024, "K");
}

int64_t budget_rows(const KvBudget& budget, const ModelConfig& config, DType type,
                    int64_t prompt_tokens) {
  switch (budget.unit) {
    case KvBudget::Unit::kPercent: return percent_rows(budget.amount, prompt_tokens);
    case KvBudget::Unit::kBytes: return byte_rows(budget, config, type);
    default: return static_cast<int64_t>(budget.amount);
  }
}

/// A budget divided, and how many rows it lacks at least; where that is 0 the shares add up to it.
struct Division {
  Shares shares;
  int64_t missing = 0;
};

/// How budgets are divided: as the method says, but for what the options say.
struct Divider {
  const Policy& policy;
  const KvOptions& options;
  int64_t group = 1;
  int64_t lists = 1;

  Division divide(int64_t budget) const {
    return policy.scores_rows() ? divide_in_three(budget) : divide_in_two(budget);
  }

  /// The least budget from this one up that is enough. A budget that grows by one row lacks at most
  /// one row less: no step goes too far.
  int64_t enough(int64_t budget) const {
    while (const int64_t missing = divide(budget).missing) budget += missing;
    return budget;
  }

 private:
  /// sink + recent. Never fewer sinks than the method has, unless the options say so.
  Division divide_in_two(int64_t budget) const {
    Division d{.shares = policy.shares(budget, group, lists)};
    if (options.sink) {
      d.shares.sink = *options.sink;
    } else if (options.recent) {
      d.shares.sink = std::max(d.shares.sink, budget - *options.recent);
    }
    d.shares.k = 0;
    d.shares.recent = budget - d.shares.sink;
    d.missing = std::max<int64_t>(options.recent.value_or(1) - d.shares.recent, 0);
    return d;
  }

  /// sink + lists * k + recent, where k is what the options leave of it if they name the recent
  /// rows.
  Division divide_in_three(int64_t budget) const {
    Division d{.shares = policy.shares(budget, group, lists)};
    if (options.sink) d.shares.sink = *options.sink;
    const int64_t middle = budget - d.shares.sink - options.recent.value_or(1);
    const int64_t most_k = std::max<int64_t>(middle, 0) / lists;
    d.shares.k = options.recent ? most_k : std::min(d.shares.k, most_k);
    if (options.recent) d.missing = std::max<int64_t>(lists - middle, 0);
    d.shares.recent = budget - d.shares.sink - lists * d.shares.k;
    if (d.shares.k < 1) d.missing = std::max<int64_t>(d.missing, 1);
    d.missing = std::max(d.missing, 1 - d.shares.recent);
    return d;
  }
};

std::string count(int64_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

[[noreturn]] void fail_too_small(const KvBudget& budget, int64_t rows, const Divider& divider) {
  const KvOptions& options = divider.options;
  const int64_t least = divider.enough(rows);
  const Shares shares = divider.divide(least).shares;
  const std::string in_rows =
      budget.unit == KvBudget::Unit::kRows ? "" : " (" + count(rows, "row") + ")";
  const std::string sinks = count(shares.sink, "sink") + (options.sink ? " (--kv-sink)" : "");
  const std::string recents =
      count(shares.recent, "recent row") + (options.recent ? " (--kv-recent)" : "");
  std::string kept = sinks + " and " + recents;
  if (shares.k > 0) {
    kept = sinks + ", " + recents + " and at least " + count(shares.k, "row") +
           (divider.lists == 1 ? " between" : " for each of " + count(divider.lists, "query head"));
  }
  fail(ExitCode::kUsage, "--kv-budget ", budget_text(budget), in_rows,
       " is too small: ", options.policy, " keeps ", kept, ": at least ", count(least, "row"));
}

}  // namespace

std::string budget_text(const KvBudget& budget) {
  if (budget.unit == KvBudget::Unit::kRows) return decimal(budget.amount);
  if (budget.unit == KvBudget::Unit::kPercent) return decimal(budget.amount) + "%";
  constexpr std::string_view kUnits = "KMG";
  double amount = budget.amount / 1024;
  size_t unit = 0;
  while (unit + 1 < kUnits.size() && amount >= 1024 && std::fmod(amount, 1024) == 0) {
    amount /= 1024;
    ++unit;
  }
  return decimal(amount) + kUnits[unit];
}

RowExtras KvSettings::extras() const {
  const bool scores = policy && policy->decode_rule() == DecodeRule::kReplaceLeast;
  return {.places_in_cache = places_in_cache, .scores = scores, .paging = paging};
}

int64_t KvSettings::most_kept(int64_t rows) const {
  if (!policy || paging.n_read > 0 || cut != CutScope::kList) return rows;
  const int64_t more = policy->most_layer_k(shares.k) - shares.k;  // of each list
  const int64_t lists = shares.k == 0 ? 0 : (budget - shares.sink - shares.recent) / shares.k;
  return std::min(rows, budget + lists * more);
}

KvSettings KvSettings::without_budget() const {
  KvSettings all;
  all.policy = make_policy("full");
  all.places_in_cache = places_in_cache;
  all.order = order;
  all.evict_chunk = evict_chunk;
  all.heads = heads;
  return all;
}

namespace {

/// Fails where one of the method's own numbers is given and means nothing to it.
void check_policy_options(const KvOptions& options, const Policy& policy) {
  const PolicyOptions& given = options.policy_options;
  const OwnOptions own = policy.own_options();
  const auto refuse = [&](bool is_given, bool has_meaning, const char* name) {
    if (!is_given || has_meaning) return;
    fail(ExitCode::kUsage, name, " has no meaning with --kv-policy ", options.policy);
  };
  refuse(given.window.has_value(), own.window, "--kv-window");
  refuse(given.pool.has_value(), own.pool, "--kv-pool");
  refuse(given.terms.has_value(), own.laprox, "--kv-terms");
  refuse(given.normalize.has_value(), own.laprox, "--kv-normalize");
  refuse(given.pool_attention.has_value(), own.laprox, "--kv-pool-what");
  refuse(given.chunk.has_value(), own.chunk, "--kv-chunk");
  const bool by_score = policy.decode_rule() == DecodeRule::kReplaceLeast;
  refuse(given.cut.has_value(), policy.scores_rows() && !by_score, "--kv-cut");
  refuse(options.sink.has_value(), !by_score, "--kv-sink");
  refuse(options.places_in_cache, !by_score, "--kv-positions cache");
  refuse(options.group.has_value(), policy.scores_rows() && !policy.scores_kv_heads(),
         "--kv-group");
}

/// Fails where two of the options contradict each other.
void check_together(const KvOptions& options, const Policy& policy) {
  const bool own_lists = options.group.value_or(policy.group()) == Group::kHead;
  const CutScope cut = options.policy_options.cut.value_or(policy.cut());
  if (options.fill && !own_lists) {
    fail(ExitCode::kUsage, "--kv-fill needs --kv-group head: one list takes no row twice");
  }
  if (cut != CutScope::kList && own_lists) {
    fail(ExitCode::kUsage, "--kv-cut layer and model need one list a KV head: --kv-group mean, max",
         " or sum");
  }
  if (cut == CutScope::kModel && options.places_in_cache) {
    fail(ExitCode::kUsage, "--kv-positions cache does not go with a cut over the model");
  }
  if (options.places_in_cache && policy.needs().query_statistics) {
    fail(ExitCode::kUsage, "--kv-positions cache does not go with --kv-policy ", options.policy,
         ", which turns queries back from their places in the text");
  }
  if (options.recompact > 0 && policy.needs().query_statistics) {
    fail(ExitCode::kUsage, "--kv-recompact does not go with --kv-policy ", options.policy,
         ": one token says nothing about what queries are like");
  }
  if (options.order == PrefillOrder::kLayer) return;
  if (policy.scores_rows() && !policy.drops_chunks()) {
    fail(ExitCode::kUsage, "--kv-policy ", options.policy,
         " drops no rows while a prompt is read: --prefill layer");
  }
  if (options.recompact > 0) {
    fail(ExitCode::kUsage, "--kv-recompact does not go with --prefill chunk: rows that a chunk",
         " kept are not scored again");
  }
  if (policy.scores_rows() && (options.sink || options.recent)) {
    fail(ExitCode::kUsage, options.sink ? "--kv-sink" : "--kv-recent",
         " does not go with --prefill chunk, where every chunk has the method's own shares");
  }
}

}  // namespace

namespace {

void check_heads(const KvOptions& options) {
  const HeadOptions& heads = options.heads;
  const auto needs_file = [&](bool given, const char* name) {
    if (given && heads.file.empty()) {
      fail(ExitCode::kUsage, name, " needs --kv-heads FILE.tsv, which says what heads it is about");
    }
  };
  needs_file(heads.threshold.has_value(), "--kv-heads-threshold");
  needs_file(heads.sink.has_value(), "--kv-heads-sink");
  needs_file(heads.window.has_value(), "--kv-heads-window");
  if (!heads.file.empty() && options.places_in_cache) {
    fail(ExitCode::kUsage, "--kv-positions cache does not go with --kv-heads, whose windows count",
         " places in the text");
  }
  const std::shared_ptr<const Policy> policy = make_policy(options.policy, options.policy_options);
  const bool one_way = policy && (policy->needs().column_sums || policy->paging(1).n_read > 0);
  if (!heads.file.empty() && one_way) {
    fail(ExitCode::kUsage, "--kv-policy ", options.policy,
         " does not go with --kv-heads: its decode steps treat all heads alike");
  }
}

}  // namespace

void check_kv(const KvOptions& options) {
  check_heads(options);
  const std::shared_ptr<const Policy> policy = make_policy(options.policy, options.policy_options);
  if (!policy) fail(ExitCode::kUsage, "there is no --kv-policy ", quoted(options.policy));
  const auto refuse = [&](bool given, const char* name) {
    if (given) fail(ExitCode::kUsage, name, " has no meaning with --kv-policy ", options.policy);
  };
  check_policy_options(options, *policy);
  refuse(options.fill && !policy->scores_rows(), "--kv-fill");
  refuse(options.policy == "full" && options.budget.has_value(), "--kv-budget");
  if (keeps_every_row(*policy)) {
    refuse(options.sink.has_value(), "--kv-sink");
    refuse(options.recent.has_value(), "--kv-recent");
    refuse(options.recompact > 0, "--kv-recompact");
    refuse(options.reselect, "--kv-reselect");
    refuse(options.places_in_cache, "--kv-positions cache");
    refuse(options.order != PrefillOrder::kLayer && options.heads.file.empty(), "--prefill chunk");
  }
  if (options.policy != "full" && !options.budget) {
    fail(ExitCode::kUsage, "--kv-policy ", options.policy,
         " needs --kv-budget, like 2048, 10% or 512M");
  }
  check_together(options, *policy);
}

KvSettings resolve_kv(const KvOptions& options, const ModelConfig& config, DType type,
                      int64_t prompt_tokens) {
  check_kv(options);
  if (options.places_in_cache && config.rope.type == RopeType::kDynamic) {
    fail(ExitCode::kUsage, "--kv-positions cache does not go with rope_type 'dynamic'");
  }
  KvSettings settings;
  if (!options.heads.file.empty()) {
    WINNOW_CHECK(options.heads.mask != nullptr, "the mask of heads was not read");
    settings.heads = *options.heads.mask;
  }
  settings.order = options.order;
  settings.evict_chunk = options.evict_chunk;
  if (options.policy == "full") {
    return settings.heads.streams_at_all() ? settings.without_budget() : KvSettings{};
  }
  settings.policy = make_policy(options.policy, options.policy_options);
  settings.budget = budget_rows(*options.budget, config, type, prompt_tokens);
  settings.paging = settings.policy->paging(settings.budget);
  if (settings.paging.n_read > 0) return settings;
  settings.group = options.group.value_or(settings.policy->group());
  settings.cut = options.policy_options.cut.value_or(settings.policy->cut());
  settings.fill = options.fill;
  settings.reselect = options.reselect;
  settings.recompact = options.recompact;
  settings.places_in_cache = options.places_in_cache;

  const Divider divider{.policy = *settings.policy,
                        .options = options,
                        .group = config.group(),
                        .lists = lists_of(settings.group, config.group())};
  const Division division = divider.divide(settings.budget);
  // Rows that join later may have to leave again, though the prompt's need not.
  const bool selects =
      settings.exceeds(prompt_tokens) || settings.reselect || settings.recompact > 0;
  if (division.missing > 0 && selects) {
    fail_too_small(*options.budget, settings.budget, divider);
  }
  settings.shares = division.missing > 0 ? Shares{.recent = settings.budget} : division.shares;
  return settings;
}

}  // namespace winnow
